"""Whole pictures through the text map and the line reader: gather once, fit and measure as often as the reader changes.

    python training/linesense/evaluate.py gather --part train --pictures 1500   # strips → cache
    python training/linesense/evaluate.py gather --part test  --pictures 2000
    python training/linesense/evaluate.py fit                                   # image head, on the train part
    python training/linesense/evaluate.py measure                               # thresholds: half A; figures: half B

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
from types import SimpleNamespace

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


def fit(args: argparse.Namespace) -> None:
    """Fit the image head on the train part's pictures and on pictures put together from their lines."""
    import torch
    from export import OUT, blocks, write_config
    from torch import nn
    from train import auc

    from ondevice_guard.linereader import LineReader, _features, reading_order

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    with np.load(OUT / "heads.npz") as f:
        heads = {k: f[k] for k in f.files if k.startswith("meaning")}
    n = len(_features(np.zeros((0, blocks()["facts"][1] + 1), np.float32), blocks(), heads))
    zero = {
        "image_w1": np.zeros((n, 1)),
        "image_b1": np.zeros(1),
        "image_w2": np.zeros((1, 1)),
        "image_b2": np.zeros(1),
        "image_mean": np.zeros(n),
        "image_std": np.ones(n),
    }
    np.savez(OUT / "heads.npz", **heads, **zero)
    write_config()
    reader = LineReader(OUT.parent)
    rng = np.random.default_rng(args.seed)
    made = {}
    for part in ("train", "test"):
        pictures = [p for p in load(part) if part == "train" or p["half"] == 0]
        read = [(p["kind"], reader.read(p["strips"])[reading_order(p["quads"])]) for p in pictures if p["strips"]]
        if not read:
            continue
        bad, good = [e for k, e in read if k in ATTACKS], [e for k, e in read if k not in ATTACKS]
        rows = [(e, 1.0) for e in bad] + [(e, 0.0) for e in good]
        if part == "train":
            for _ in range(3 * len(read)):  # pictures that hold more, and lines that the text map missed
                attack = rng.random() < 0.4
                parts = [
                    good[rng.integers(len(good))]
                    for _ in range(int(rng.choice((0, 1, 1, 2) if attack else (1, 1, 2, 3))))
                ]
                if attack:
                    parts.insert(int(rng.integers(len(parts) + 1)), bad[rng.integers(len(bad))])
                e = np.concatenate(parts) if parts else good[0]
                keep = rng.random(len(e)) > rng.choice((0, 0.1))
                rows.append(((e[keep] if keep.any() else e)[:64], float(attack and len(parts) > 0)))
        made[part] = (
            np.stack([_features(e, blocks(), heads) for e, _ in rows]),
            np.array([y for _, y in rows], np.float32),
        )
    x, y = made["train"]
    mean, std = x.mean(0), x.std(0) + 1e-2
    net = nn.Sequential(nn.Linear(n, 24), nn.ReLU(), nn.Linear(24, 1))
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.1)
    tx, ty = torch.from_numpy((x - mean) / std), torch.from_numpy(y)
    for step in range(2000):
        i = torch.randint(len(tx), (256,))
        loss = nn.functional.binary_cross_entropy_with_logits(net(tx[i] + 0.3 * torch.randn(256, n))[:, 0], ty[i])
        opt.param_groups[0]["lr"] = 3e-3 * (1 - step / 2000)
        opt.zero_grad()
        loss.backward()
        opt.step()
    for part, (px, py) in made.items():
        s, t = net(torch.from_numpy((px - mean) / std)).detach().numpy()[:, 0], py > 0
        print(
            part,
            "pictures",
            len(py),
            "AUROC",
            round(auc(s, t), 4),
            "recall at 1 %",
            round(float((s[t] > np.quantile(s[~t], 0.99)).mean()), 4),
            "| order+harm window of 4 alone",
            round(auc(np.maximum(px[:, 4], px[:, 5]), t), 4),
        )
    image = {"image_w1": net[0].weight.T, "image_b1": net[0].bias, "image_w2": net[2].weight.T, "image_b2": net[2].bias}
    np.savez(
        OUT / "heads.npz",
        **heads,
        **{k: v.detach().numpy().astype(np.float32) for k, v in image.items()},
        image_mean=mean.astype(np.float32),
        image_std=std.astype(np.float32),
    )
    write_config()


def measure(args: argparse.Namespace) -> None:
    """Thresholds at 0.2, 1 and 3 % on half A, figures on half B; both go into config.json and metrics.json."""
    from export import OUT, write_config
    from train import auc

    from ondevice_guard.linereader import LineReader

    reader = LineReader(OUT.parent)
    rows = []
    for p in load("test"):
        score = reader.orders(reader.read(p["strips"]), SimpleNamespace(quads=p["quads"]))[0] if p["strips"] else 0.0
        rows.append((p["kind"], p["half"], score))
    kind, side, score = np.array([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])
    attack = np.isin(kind, ATTACKS)
    benign_a = np.sort(score[~attack & (side == 0)])
    points = {
        str(f): round(float(min(1.0, np.quantile(benign_a, 1 - f, method="higher") + 1e-6)), 6)
        for f in (0.002, 0.01, 0.03)
    }
    b = side == 1
    figures: dict[str, object] = {
        "pictures": {
            "half A benign": int((~attack & ~b).sum()),
            "half B benign": int((~attack & b).sum()),
            "half B attacks": int((attack & b).sum()),
        },
        "half B AUROC, all benign": round(auc(score[b], attack[b]), 4),
    }
    own = float(np.quantile(score[b & ~attack], 0.99))
    figures["half B recall at 1 % of half B's benign"] = round(float((score[b & attack] > own).mean()), 4)
    everything = float(np.quantile(score[~attack], 0.99))
    figures["both halves, recall at 1 % of all benign"] = round(float((score[attack] > everything).mean()), 4)
    for f, t in points.items():
        flagged = score >= t
        documents = np.isin(kind, DOCUMENTS)
        figures[f"at {f} (half A's point)"] = {
            "threshold": t,
            "half B benign flagged": round(float(flagged[b & ~attack].mean()), 4),
            "half B documents flagged": round(float(flagged[b & documents].mean()), 4),
            "half B recall": round(float(flagged[b & attack].mean()), 4),
            "by attack": {k: round(float(flagged[b & (kind == k)].mean()), 3) for k in ATTACKS},
            "by benign": {k: round(float(flagged[b & (kind == k)].mean()), 3) for k in dict.fromkeys(BENIGN)},
        }
    write_config(thresholds={"typographic": points}, metrics=figures)
    (HERE / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=("gather", "fit", "measure"))
    ap.add_argument("--data")
    ap.add_argument("--part", default="test")
    ap.add_argument("--pictures", type=int, default=1000)
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    {"gather": gather, "fit": fit, "measure": measure}[args.what](args)
