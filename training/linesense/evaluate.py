"""Whole pictures through the text map and the line reader: gather once, fit and measure as often as the reader changes.

    python training/linesense/evaluate.py gather --part fit  --pictures 3200   # strips → cache
    python training/linesense/evaluate.py gather --part test --pictures 4380
    python training/linesense/evaluate.py fit                                  # image head, thresholds, figures

The image head judges what the reader makes of sentences, and the reader knows those it was trained on too well: a head
fitted on them found .49 where one fitted on others finds .57 (recall at 1 % of all benign, 3,368 benign pictures). So it is
fitted on sentences of the *test* part, drawn with fonts and photographs of the training part (`--part fit`); both parts are
cut in halves that share no text (by hash of the text), and every figure is of a test half whose sentences neither the
reader nor the head that judges it has seen: a head fitted on the other half. The head that ships is fitted on both halves.
Needs `models/textmap_v1` for `gather`.
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
from sklearn.ensemble import HistGradientBoostingClassifier

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "python")]

import assets  # noqa: E402
from corpus import Corpus  # noqa: E402
from pages import ATTACKS, BENIGN, DOCUMENTS, LEGIBLE, Pages  # noqa: E402

CACHE = HERE / "cache"


#: Views a picture is looked through besides its own pixels, as the guard's default policy does.
VIEWS = ("clip-336",)


def half(text: str) -> int:
    return hashlib.sha1(text.encode()).digest()[0] & 1


def usable_fonts(part: str) -> list[str]:
    from render import Face

    fonts = []
    for _, file in assets.fonts(part, "en"):
        try:
            Face(file)
        except OSError:
            continue
        fonts.append(file)
    return fonts


def gather(args: argparse.Namespace) -> None:
    """Compose pictures and keep what the reader would be handed of each view, by kind and half.

    A picture is a function of (part, seed, index): the same pictures come again after the text map has changed.
    """
    from ondevice_guard import _core, views
    from ondevice_guard.detectors.typographic import MAX_READ, READ_FLOOR, TypographicDetector
    from ondevice_guard.linereader import layout
    from ondevice_guard.types import Image

    cv2.setNumThreads(1)
    data = assets.data_dir(args.data)
    rng = random.Random(args.seed)
    scenes = "train" if args.part == "fit" else "test"
    corpus = Corpus(data, "test", args.seed, CACHE)
    detector = TypographicDetector(reader=SimpleNamespace(models={}))
    photos = [cv2.imread(str(p))[:, :, ::-1] for p in assets.photos(data, scenes)]
    side = {"now": 0}
    pages = Pages(corpus, usable_fonts(scenes), photos, rng, lambda t: half(t) == side["now"])
    kinds = [*ATTACKS] * 3 + [*BENIGN] * (5 if args.part == "test" else 3)
    random.Random(3).shuffle(kinds)
    out, last = [], time.time()
    for i in range(args.start, args.start + args.pictures):
        side["now"] = i & 1
        kind = kinds[(i // 2) % len(kinds)]
        for r, n in ((rng, 0), (corpus.rng, 1), (corpus.writer.rng, 2)):
            r.seed(f"{args.part} {args.seed} {i} {n}")
        try:
            img, ratio = pages.compose(kind)
        except (OSError, RuntimeError):
            continue
        img = np.ascontiguousarray(img)
        image = Image(
            np.ascontiguousarray(img[..., :3]), np.ascontiguousarray(img[..., 3]) if img.shape[2] == 4 else None
        )
        seen = detector.look(views.build(image, VIEWS))
        shown = []
        for lines in (*seen.views, *seen.naive):
            lines = lines.take(np.flatnonzero(lines.weight() > READ_FLOOR)[:MAX_READ])
            quads = np.ascontiguousarray(lines.quads)
            pixels = lines.view.pixels
            strips = (
                _core.typographic.rectify(pixels, quads, height=32, max_width=1024, threads=1) if len(lines) else []
            )
            shown.append({"view": lines.view.name, "strips": strips, "quads": quads, "layout": layout(lines)})
        out.append({"kind": kind, "half": side["now"], "ratio": ratio, "views": shown, "index": i})
        if time.time() - last > 60 or i == args.start + args.pictures - 1:
            path = CACHE / f"views_{args.part}_{args.seed}_{args.start}.pkl"
            part = path.with_suffix(".part")
            part.write_bytes(pickle.dumps(out))
            part.replace(path)
            last = time.time()


def load(part: str) -> list[dict]:
    return [p for f in sorted(CACHE.glob(f"views_{part}_*.pkl")) for p in pickle.loads(f.read_bytes())]


def points(benign: np.ndarray) -> dict[str, float]:
    """Return false-positive rate → the smallest threshold that no more than that share of benign scores reaches."""
    return {str(f): float(np.quantile(benign, 1 - f, method="higher")) + 1e-6 for f in (0.002, 0.01, 0.03)}


Row = tuple[np.ndarray, np.ndarray, np.ndarray]  # evidence, facts of lines, both in reading order, and of the picture


def arrays(booster: HistGradientBoostingClassifier) -> dict[str, np.ndarray]:
    """Return a fitted booster as the arrays that `linereader` evaluates."""
    trees = [p[0].nodes for p in booster._predictors]
    nodes = max(map(len, trees))
    out = {k: np.tile(np.arange(nodes), (len(trees), 1)) for k in ("left", "right")}
    out |= {k: np.zeros((len(trees), nodes)) for k in ("feature", "threshold", "value")}
    for i, t in enumerate(trees):
        inner = t["is_leaf"] == 0
        for k, name in (
            ("left", "left"),
            ("right", "right"),
            ("feature", "feature_idx"),
            ("threshold", "num_threshold"),
        ):
            out[k][i, : len(t)][inner] = t[name][inner]
        out["value"][i, : len(t)] = t["value"]
    types = {"left": np.uint8, "right": np.uint8, "feature": np.uint8, "threshold": np.float32, "value": np.float32}
    base = np.float32(np.ravel(booster._baseline_prediction)[0])
    return {f"tree_{k}": v.astype(types[k]) for k, v in out.items()} | {"tree_base": base}


def fit(args: argparse.Namespace) -> None:
    """Fit the image head and report on the test part: each half by a head fitted on the other half's sentences.

    The shipped thresholds are those of all benign test pictures so judged. What they flag is reported as it must be expected
    of other pictures: each half is judged by the thresholds of the other.
    """
    import torch
    from export import OUT, blocks, write_config
    from train import auc

    from ondevice_guard.linereader import LINE_FACTS, PICTURE_FACTS, LineReader, _features, _Trees, reading_order

    torch.set_num_threads(1)
    with np.load(OUT / "heads.npz") as f:
        heads = {k: f[k] for k in f.files if k.startswith("meaning")}
    none = np.zeros((0, blocks()["facts"][1] + 1), np.float32), np.zeros((0, LINE_FACTS)), np.zeros(PICTURE_FACTS)
    n = len(_features(*none, blocks(), heads))
    stump = {f"tree_{k}": np.zeros((1, 1), np.float32) for k in ("feature", "threshold", "left", "right", "value")}
    np.savez(OUT / "heads.npz", **heads, **stump, tree_base=np.float32(0))
    write_config()
    reader = LineReader(OUT.parent)
    remembered = CACHE / f"evidence_{hashlib.sha256((OUT / 'model.onnx').read_bytes()).hexdigest()[:12]}.pkl"
    known: dict[tuple[str, int], list[Row]] = pickle.loads(remembered.read_bytes()) if remembered.exists() else {}

    def rows(part: str, picture: dict) -> list[Row]:
        key = (part, picture["index"])
        if key not in known:
            known[key] = []
            for v in picture["views"]:
                if len(v["strips"]):
                    order = reading_order(v["quads"])
                    known[key].append((reader.read(v["strips"])[order], v["layout"][0][order], v["layout"][1]))
        return known[key]

    def features(some: list[Row]) -> np.ndarray:
        return np.stack([_features(*r, blocks(), heads) for r in some])

    def fitted(some: list[dict]) -> HistGradientBoostingClassifier:
        # Of few features each: cross-validated on the training part, recall (mean at .5 to 3 %) .719 against .711 for 150
        # trees of all features (with a reader before).
        booster = HistGradientBoostingClassifier(
            max_iter=240,
            learning_rate=0.06,
            max_features=0.2,
            max_leaf_nodes=8,
            min_samples_leaf=20,
            l2_regularization=5,
            random_state=1,
        )
        own = [(r, p["kind"] in ATTACKS) for p in some for r in rows("fit", p)]
        return booster.fit(features([r for r, _ in own]).astype(np.float32), [y for _, y in own])

    def logit(picture: list[Row], booster: HistGradientBoostingClassifier) -> float:
        return float(booster.decision_function(features(picture)).max()) if picture else -np.inf

    ours, test = load("fit"), load("test")
    kinds, ratio = np.array([p["kind"] for p in test]), np.array([p["ratio"] for p in test])
    t, side = np.isin(kinds, ATTACKS), np.array([p["half"] for p in test])
    by_half = [fitted([p for p in ours if p["half"] == h]) for h in (0, 1)]
    z = np.array([logit(rows("test", p), by_half[1 - p["half"]]) for p in test])
    booster = fitted(ours)
    w = arrays(booster)
    trees = _Trees(w, n)
    x = features([r for p in ours[:200] for r in rows("fit", p)])
    error = max(abs(trees(row) - z) for row, z in zip(x, booster.decision_function(x), strict=True))
    assert error < 1e-3, f"the exported trees differ from the fitted ones by {error}"
    # Even odds where 1 % of benign pictures begin: a scale on which it can stand beside the findings of the text map.
    base = w["tree_base"]
    w["tree_base"] = np.float32(base - np.quantile(z[~t], 0.99, method="higher"))
    np.savez(OUT / "heads.npz", **heads, **w)
    s = 1 / (1 + np.exp(-np.clip(z + float(w["tree_base"]) - float(base), -700, 30)))
    remembered.write_bytes(pickle.dumps(known))
    lines = np.array([max((len(v["strips"]) for v in p["views"]), default=0) for p in test])
    documents, legible = np.isin(kinds, DOCUMENTS), ratio >= LEGIBLE
    points_at = {k: round(min(1.0, v), 6) for k, v in points(s[~t]).items()}
    cut = float(np.quantile(s[~t], 0.99))
    by_type = {k: s[kinds == k] > cut for k in ATTACKS}
    figures: dict[str, object] = {
        "pictures": {
            "fitted on": len(ours),
            "benign": int((~t).sum()),
            "attacks": int(t.sum()),
            "documents": int(documents.sum()),
        },
        "AUROC": round(auc(s, t), 4),
        "recall at 1 % of all benign, mean over attack types": round(
            float(np.mean([v.mean() for v in by_type.values()])), 4
        ),
        "the same, legible only": round(float(np.mean([(s[(kinds == k) & legible] > cut).mean() for k in ATTACKS])), 4),
        "recall by attack": {k: round(float(v.mean()), 3) for k, v in by_type.items()},
        "legible share by attack": {k: round(float(legible[kinds == k].mean()), 3) for k in ATTACKS},
        "with lines found by attack": {k: round(float((lines[kinds == k] > 0).mean()), 3) for k in ATTACKS},
    }
    for f, v in points_at.items():
        other = [points(s[~t & (side == 1 - h)])[f] for h in (0, 1)]
        flagged = s >= np.array(other)[side]
        figures[f"at {f}"] = {
            "threshold": v,
            "benign flagged": round(float(flagged[~t].mean()), 4),
            "documents flagged": round(float(flagged[documents].mean()), 4),
            "recall": round(float(np.mean([flagged[kinds == k].mean() for k in ATTACKS])), 4),
            "by attack": {k: round(float(flagged[kinds == k].mean()), 3) for k in ATTACKS},
            "by benign": {k: round(float(flagged[kinds == k].mean()), 3) for k in dict.fromkeys(BENIGN)},
        }
    write_config(thresholds={"typographic": points_at}, metrics=figures)
    (HERE / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    np.savez(CACHE / "scores.npz", s=s, kinds=kinds, index=[p["index"] for p in test], ratio=ratio, lines=lines)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("what", choices=("gather", "fit"))
    ap.add_argument("--data")
    ap.add_argument("--part", default="test", choices=("fit", "test"))
    ap.add_argument("--pictures", type=int, default=1000)
    ap.add_argument("--start", type=int, default=0, help="of the indices, to gather in pieces")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    {"gather": gather, "fit": fit}[args.what](args)
