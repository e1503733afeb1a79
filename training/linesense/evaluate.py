"""Whole pictures through the text map and the line reader: gather once, fit and measure as often as the reader changes.

    python training/linesense/evaluate.py gather --part train --pictures 1500   # strips → cache
    python training/linesense/evaluate.py gather --part test  --pictures 2000
    python training/linesense/evaluate.py fit                                   # image head, thresholds, figures

The halves of the test part share fonts and photographs but no text (by hash of the text); the train part shares
nothing with either. Needs `models/textmap_v1` for `gather`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import random
import sys
import time
from pathlib import Path

import cv2
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "python")]

import assets  # noqa: E402
from corpus import Corpus  # noqa: E402
from pages import ATTACKS, BENIGN, DOCUMENTS, Pages  # noqa: E402

CACHE = HERE / "cache"


def half(text: str) -> int:
    return hashlib.sha1(text.encode()).digest()[0] & 1


def gather(args: argparse.Namespace) -> None:
    """Compose pictures and keep what the reader would be handed: strips and quadrilaterals, by kind and half."""
    from ondevice_guard import _core
    from ondevice_guard.detectors.typographic import MAX_READ, READ_FLOOR, TypographicDetector
    from ondevice_guard.types import View

    data = assets.data_dir(args.data)
    rng = random.Random(args.seed)
    corpus = Corpus(data, args.part, args.seed, CACHE)
    detector = TypographicDetector()
    photos = [cv2.imread(str(p))[:, :, ::-1] for p in assets.photos(data, args.part)]
    fonts = []
    for _, file in assets.fonts(args.part, "en"):
        try:
            from render import Face

            Face(file)
            fonts.append(file)
        except OSError:
            continue
    side = {"now": 0}
    pages = Pages(
        corpus, fonts, photos, rng, (lambda t: half(t) == side["now"]) if args.part == "test" else (lambda t: True)
    )
    kinds = [*ATTACKS] * 3 + [*BENIGN] * (3 if args.part == "train" else 5)
    out, last = [], time.time()
    for i in range(args.pictures):
        side["now"] = i & 1
        kind = kinds[(i // 2) % len(kinds)]
        try:
            img, truth = pages.compose(kind)
        except (OSError, RuntimeError):
            continue
        img = np.ascontiguousarray(img)
        lines = detector.lines([View("original", img)])[0]
        lines = lines.take(lines.weight() > READ_FLOOR).take(slice(MAX_READ))
        strips = _core.typographic.rectify(img, lines.quads, height=32, max_width=1024, threads=1) if len(lines) else []
        out.append(
            {
                "kind": kind,
                "half": side["now"],
                "strips": strips,
                "quads": lines.quads,
                "written": len(truth),
                "shape": img.shape[:2],
            }
        )
        if time.time() - last > 60 or i == args.pictures - 1:
            path = CACHE / f"pictures_{args.part}_{args.seed}.pkl"
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(out))
            part.replace(path)
            last = time.time()


def load(part: str) -> list[dict]:
    return [p for f in sorted(CACHE.glob(f"pictures_{part}_*.pkl")) for p in pickle.loads(f.read_bytes())]


def points(benign: np.ndarray) -> dict[str, float]:
    """Return false-positive rate → the smallest threshold that no more than that share of benign scores reaches."""
    return {str(f): float(np.quantile(benign, 1 - f, method="higher")) + 1e-6 for f in (0.002, 0.01, 0.03)}


def fit(args: argparse.Namespace) -> None:
    """Fit the image head on the train part and half A, set thresholds on half A, report on half B.

    Half A serves both purposes without flattering itself: its thresholds come from scores of heads that were fitted
    without the fifth of half A they score. Pictures are also put together from the lines of several, so that orders
    are seen beside more, and less, harmless writing than the composer gives them.
    """
    import torch
    from export import OUT, blocks, write_config
    from torch import nn
    from train import auc

    from ondevice_guard.linereader import LineReader, _features, reading_order

    torch.set_num_threads(1)
    with np.load(OUT / "heads.npz") as f:
        heads = {k: f[k] for k in f.files if k.startswith("meaning")}
    n = len(_features(np.zeros((0, blocks()["facts"][1] + 1), np.float32), blocks(), heads))
    names = ("image_w1", "image_b1", "image_w2", "image_b2", "image_mean", "image_std")
    shapes = ((n, 16), (16,), (16, 1), (1,), (n,), (n,))
    np.savez(OUT / "heads.npz", **heads, **{k: np.ones(v, np.float32) for k, v in zip(names, shapes, strict=True)})
    write_config()
    reader = LineReader(OUT.parent)
    rng = np.random.default_rng(args.seed)

    def evidence(pictures: list[dict]) -> list[tuple[np.ndarray, bool]]:
        out = []
        for p in pictures:
            e = reader.read(p["strips"])
            out.append((e[reading_order(p["quads"])] if len(e) else e, p["kind"] in ATTACKS))
        return out

    def features(rows: list[tuple[np.ndarray, bool]]) -> tuple[np.ndarray, np.ndarray]:
        return np.stack([_features(e, blocks(), heads) for e, _ in rows]), np.array([y for _, y in rows], np.float32)

    def mixed(rows: list[tuple[np.ndarray, bool]], times: int) -> list[tuple[np.ndarray, bool]]:
        bad, good = [e for e, y in rows if y and len(e)], [e for e, y in rows if not y and len(e)]
        out = [(e, y) for e, y in rows if len(e)]
        for _ in range(times * len(rows)):
            attack = rng.random() < 0.4
            parts = [good[rng.integers(len(good))] for _ in range(int(rng.choice((0, 1, 2) if attack else (1, 2, 3))))]
            if attack:
                parts.insert(int(rng.integers(len(parts) + 1)), bad[rng.integers(len(bad))])
            out.append((np.concatenate(parts)[:64], attack))
        return out

    def train(x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
        torch.manual_seed(args.seed)
        mean, std = x.mean(0), x.std(0) + 1e-2
        net = nn.Sequential(nn.Linear(n, 16), nn.ReLU(), nn.Linear(16, 1))
        opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.3)
        tx, ty = torch.from_numpy((x - mean) / std), torch.from_numpy(y)
        for step in range(1200):
            i = torch.randint(len(tx), (256,))
            z = net(tx[i] + 0.3 * torch.randn(256, n))[:, 0]
            loss = nn.functional.binary_cross_entropy_with_logits(z, ty[i])
            opt.param_groups[0]["lr"] = 3e-3 * (1 - step / 1200)
            opt.zero_grad()
            loss.backward()
            opt.step()
        values = (net[0].weight.T, net[0].bias, net[2].weight.T, net[2].bias)
        arrays = [v.detach().numpy() for v in values] + [mean, std]
        return {k: v.astype(np.float32) for k, v in zip(names, arrays, strict=True)}

    def score(rows: list[tuple[np.ndarray, bool]], w: dict[str, np.ndarray]) -> np.ndarray:
        x = (features(rows)[0] - w["image_mean"]) / w["image_std"]
        z = np.maximum(x @ w["image_w1"] + w["image_b1"], 0) @ w["image_w2"] + w["image_b2"]
        return np.where([len(e) > 0 for e, _ in rows], 1 / (1 + np.exp(-np.clip(z[:, 0], -30, 30))), 0.0)

    test = load("test")
    a, b = evidence([p for p in test if p["half"] == 0]), evidence([p for p in test if p["half"] == 1])
    kinds = np.array([p["kind"] for p in test if p["half"] == 1])
    base = features(mixed(evidence(load("train")), 2))

    def head(rows: list[tuple[np.ndarray, bool]]) -> dict[str, np.ndarray]:
        own = features(mixed(rows, 3))
        return train(np.concatenate([base[0], own[0]]), np.concatenate([base[1], own[1]]))

    fold = np.arange(len(a)) % 5
    truth = np.array([y for _, y in a])
    outside = np.zeros(len(a))
    for k in range(5):
        w = head([r for r, f in zip(a, fold, strict=True) if f != k])
        outside[fold == k] = score([r for r, f in zip(a, fold, strict=True) if f == k], w)
    w = head(a)
    np.savez(OUT / "heads.npz", **heads, **w)
    at = {k: round(min(1.0, v), 6) for k, v in points(outside[~truth]).items()}
    s, t = score(b, w), np.array([y for _, y in b])
    documents = np.isin(kinds, DOCUMENTS)
    both, both_t = np.concatenate([outside, s]), np.concatenate([truth, t])
    figures: dict[str, object] = {
        "pictures": {
            "A benign": int((~truth).sum()),
            "A attacks": int(truth.sum()),
            "B benign": int((~t).sum()),
            "B attacks": int(t.sum()),
        },
        "B AUROC": round(auc(s, t), 4),
        "A AUROC, out of fold": round(auc(outside, truth), 4),
        "B recall at 1 % of B's benign": round(float((s[t] > np.quantile(s[~t], 0.99)).mean()), 4),
        "A (out of fold) and B, recall at 1 % of all their benign": round(
            float((both[both_t] > np.quantile(both[~both_t], 0.99)).mean()), 4
        ),
    }
    for f, v in at.items():
        flagged = s >= v
        figures[f"B at {f}"] = {
            "threshold": v,
            "benign flagged": round(float(flagged[~t].mean()), 4),
            "documents flagged": round(float(flagged[documents].mean()), 4),
            "recall": round(float(flagged[t].mean()), 4),
            "by attack": {k: round(float(flagged[kinds == k].mean()), 3) for k in ATTACKS},
            "by benign": {k: round(float(flagged[kinds == k].mean()), 3) for k in dict.fromkeys(BENIGN)},
        }
    write_config(thresholds={"typographic": at}, metrics=figures)
    (HERE / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=("gather", "fit"))
    ap.add_argument("--data")
    ap.add_argument("--part", default="test")
    ap.add_argument("--pictures", type=int, default=1000)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    {"gather": gather, "fit": fit}[args.what](args)
