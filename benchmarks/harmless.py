"""What the default policy does to pictures that mean no harm. Writes benchmarks/results/harmless.json.

    PYTHONPATH=python python benchmarks/harmless.py --data DATA [--photos 48]

Photographs of the test part as they are, as cameras, editors and web sites leave them, and as many pictures full of fine
structure (`MAKERS` and `DRAWN` of training/adversarial/data.py, which also trained the perturbation detector, with other
photographs and seeds), handed over as PNG: how many are allowed, sanitized and blocked, and for which findings. Documents and
screenshots are in benchmarks/typographic.py and training/linesense/evaluate.py, prompts in benchmarks/text.py.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "adversarial"))
import assets
from data import DRAWN, MAKERS, drawn

from ondevice_guard import Guard

RESULTS = Path(__file__).parent / "results" / "harmless.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    part = assets.photos(assets.data_dir(options.data), "test")
    chosen = part[:: max(1, len(part) // options.photos)][: options.photos]
    photos = [cv2.cvtColor(cv2.imread(str(p), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB) for p in chosen]
    guard, rows = Guard(policy=options.policy), {}
    for name in (*MAKERS, *DRAWN):
        rng, decisions, kinds = np.random.default_rng(20261123), collections.Counter(), collections.Counter()
        for photo in photos:
            pixels = MAKERS[name](photo, rng) if name in MAKERS else drawn(photo, rng, name)
            verdict = guard.check(cv2.imencode(".png", pixels[..., ::-1])[1].tobytes())
            decisions[verdict.decision.name] += 1
            kinds.update({f.kind for f in verdict.counted})
        rows[name] = {**decisions, "findings": dict(kinds.most_common())}
        print(name, rows[name], flush=True)
    result = {"policy": options.policy, "pictures_a_row": len(photos), "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
