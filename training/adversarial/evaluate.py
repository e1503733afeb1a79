"""Measure the shipped detector on the `report` part of the photographs, victim lite0 (never trained or tuned on).

    PYTHONPATH=python python training/adversarial/evaluate.py --data DIR --cache DIR \
        --out benchmarks/results/adversarial.json

Rows are benign pictures; each is given with its share of false alarms at the recorded operating points and at the
threshold that detects 95 % of PGD-8, PGD-16 and MI-16 each, and its AUROC against the three.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parent))
import train as detector_training
from benign import DRAWN, MAKERS, drawn, gaussian, jpeg

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "purifier"))
from attacks import attack_sets, centre, load_rgb, photos

from ondevice_guard import _core
from ondevice_guard.detectors.adversarial import AdversarialDetector


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--models", type=Path, default=Path("models"))
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    detector = AdversarialDetector(a.models / "adversarial_v1")
    score = lambda images: detector_training.detect(detector, images).max(1)  # noqa: E731
    sets = attack_sets(a.data, a.cache, "report", "lite0", "lite1")
    attacked = {k: score(sets[k]) for k in ("pgd8", "pgd16", "mi16")}
    at95 = min(float(np.quantile(z, 0.05)) for z in attacked.values())
    points = {
        r: float(np.log(v / (1 - v)))
        for r in ("0.002", "0.01", "0.03")
        if (v := detector.operating_points(float(r))["adversarial"])
    }
    native = [load_rgb(f) for f in photos(a.data, "report")]
    small = [centre(x) for x in native]
    benign = {"clean 224": small, "clean native": native, "gaussian sigma 6, 224": [gaussian(x, rng, 6) for x in small]}
    benign |= {f"jpeg q{q}, 224": [jpeg(x, rng, q) for x in small] for q in (50, 75, 90)}
    benign |= {f"{k}, 224": [make(x, rng) for x in small] for k, make in MAKERS.items() if k != "clean"}
    benign |= {f"{k}, 224": [drawn(x, rng, k) for x in small] for k in DRAWN}
    rows = {}
    for name, images in benign.items():
        z = score(images)
        rows[name] = {
            "n": len(z),
            "false_alarms_at_95_detection": round(float(np.mean(z >= at95)), 4),
            **{f"false_alarms_at_{r}": round(float(np.mean(z >= t)), 4) for r, t in points.items()},
            "auroc": {
                k: round(float(roc_auc_score([0] * len(z) + [1] * len(w), np.r_[z, w])), 4) for k, w in attacked.items()
            },
        }
        print(name, rows[name], flush=True)
    detected = {k: {r: round(float(np.mean(w >= t)), 4) for r, t in points.items()} for k, w in attacked.items()}
    for q in (95, 85, 75):
        for k in attacked:
            z = score([jpeg(x, rng, q) for x in sets[k]])
            detected[f"{k} then jpeg q{q}"] = {r: round(float(np.mean(z >= t)), 4) for r, t in points.items()}
    print(json.dumps(detected, indent=1))
    times = {}
    for width, height in ((224, 224), (512, 512), (1920, 1080)):
        image = cv2.resize(native[0], (width, height))
        runs = []
        for _ in range(30):
            start = time.thread_time()
            detector_training.detect(detector, [image])
            runs.append((time.thread_time() - start) * 1e3)
        times[f"{width}x{height}"] = round(min(runs), 3)
    report = {
        "victim": "lite0",
        "photographs": {"report": len(native), "attacked": len(sets["labels"])},
        "benign": rows,
        "detected_at_operating_point": detected,
        "cpu_ms_one_thread_best_of_30": times,
        "machine": {"processor": platform.processor() or platform.machine(), "backend": _core.backend.active()},
    }
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
