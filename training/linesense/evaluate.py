"""Whole pictures through the text map and the line reader: gather once, fit and measure as often as the reader changes.

    python training/linesense/evaluate.py gather --part fit   --pictures 17600   # strips → cache
    python training/linesense/evaluate.py gather --part fresh --pictures 6400
    python training/linesense/evaluate.py gather --part train --pictures 4800
    python training/linesense/evaluate.py gather --part ground --pictures 500
    python training/linesense/evaluate.py gather --part test  --pictures 4380
    python training/linesense/evaluate.py fit                                    # the judge, thresholds, figures

The judge (`linereader._Judge`) weighs what the reader makes of sentences, and the reader knows those it was trained on too
well: a judge fitted on them alone expects too much of others. So it is fitted on sentences of the *test* part, drawn with
fonts and photographs of the training part (`--part fit`), on others that come from the prompt models' grammars (`--part
fresh`), on the reader's own (`--part train`), and on pictures without writing in which the text map sees lines all the same
(`--part ground`). The first two and the test are cut in halves that share no text (by hash of the text), and every figure is
of a test half whose sentences neither the reader nor the judge has seen: a judge fitted on the other half. The judge that
ships is fitted on both halves. Needs `models/textmap_v1` for `gather`.
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
import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "text"), str(HERE.parents[1] / "python")]

import assets  # noqa: E402
from corpus import Corpus, Generated  # noqa: E402
from export import OUT, blocks, coded, write_config  # noqa: E402
from pages import ATTACKS, BENIGN, DOCUMENTS, LEGIBLE, Pages  # noqa: E402

CACHE = HERE / "cache"
#: What the judge is fitted on.
PARTS = ("fit", "fresh", "train", "ground")


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
    scenes = "test" if args.part == "test" else "train"
    words = "train" if args.part == "train" else "test"
    corpus = Generated(data, args.seed, CACHE) if args.part == "fresh" else Corpus(data, words, args.seed, CACHE)
    detector = TypographicDetector(reader=SimpleNamespace(models={}))
    photos = [cv2.imread(str(p))[:, :, ::-1] for p in assets.photos(data, scenes)]
    side = {"now": 0}
    pages = Pages(corpus, usable_fonts(scenes), photos, rng, lambda t: half(t) == side["now"])
    kinds = [*ATTACKS] * 3 + [*BENIGN] * (5 if args.part == "test" else 3)
    kinds = ["ground"] if args.part == "ground" else kinds
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


Row = tuple[np.ndarray, np.ndarray]  # numbers of lines in reading order, facts of the picture


class Judge(torch.nn.Module):
    """The network of `linereader._Judge`, with dropout; takes standardised numbers, N x lines x numbers and N x facts."""

    def __init__(self, width: int, facts: int, hidden: int = 104, queries: int = 4, last: int = 64) -> None:
        super().__init__()
        self.line = torch.nn.Linear(width, hidden)
        self.near = torch.nn.ModuleList(torch.nn.Conv1d(hidden, hidden, 3, padding=1) for _ in range(2))
        self.query = torch.nn.Linear(hidden, queries)
        self.last = torch.nn.Linear((queries + 1) * hidden + facts, last)
        self.out = torch.nn.Linear(last, 1)

    def forward(self, lines: torch.Tensor, there: torch.Tensor, facts: torch.Tensor) -> torch.Tensor:
        def drop(x: torch.Tensor, share: float) -> torch.Tensor:
            return F.dropout(x, share, self.training)

        h = F.relu(self.line(drop(lines, 0.1)))
        for near in self.near:
            h = h + F.relu(near((h * there[..., None]).mT).mT)
        h = drop(h, 0.3)
        hide = (there[..., None] - 1) * 1e4
        attention = (self.query(h) + hide).softmax(1)
        pooled = drop(torch.cat([(attention.mT @ h).flatten(1), (h + hide).amax(1)], 1), 0.3)
        return self.out(drop(F.relu(self.last(torch.cat([pooled, facts], 1))), 0.3))[:, 0]


def trained(rows: list[Row], attacks: list[bool], *, epochs: int = 14, rate: float = 1.5e-3, seed: int = 1) -> dict:
    """Train a judge and return the arrays that `linereader._Judge` takes.

    AdamW (weight decay .05), cosine over the epochs, batches of 64 views of like length, labels smoothed by .02. Chosen on
    6,400 pictures of the `fit` part, each half judged by the other (mean recall at .5 to 3 %): boosted trees on the strongest
    windows of lines .67 to .68; this .73; with what the trees saw added .74; one look at neighbours .72. Its width and
    epochs were chosen on the same number of pictures through another text map, two to four fits each judged on test
    pictures of the other half: 72 wide, 12 epochs .693; 104, 14 .715; 128, 12 .720; 72, 20 .711; 128, 30 .67. The mean of
    the first four fits is .702, for four times the bytes; learning from such means .693, a loss on the strongest benign
    views .688, orders pushed into documents .69.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    every, facts = np.concatenate([r for r, _ in rows]), np.stack([f for _, f in rows])
    scale = {
        "line_mean": every.mean(0),
        "line_deviation": every.std(0) + 1e-3,
        "picture_mean": facts.mean(0),
        "picture_deviation": facts.std(0) + 1e-3,
    }
    lines = [np.clip((r - scale["line_mean"]) / scale["line_deviation"], -4, 4).astype(np.float32) for r, _ in rows]
    facts = np.clip((facts - scale["picture_mean"]) / scale["picture_deviation"], -5, 5).astype(np.float32)
    count, y = np.array([len(r) for r in lines]), torch.tensor(attacks, dtype=torch.float32) * 0.96 + 0.02
    net = Judge(every.shape[1], facts.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.05)
    steps, step = epochs * -(-len(rows) // 64), 0
    for _ in range(epochs):
        shuffled, batches = rng.permutation(len(rows)), []
        for start in range(0, len(shuffled), 1024):
            pool = shuffled[start : start + 1024]
            pool = pool[np.argsort(count[pool], kind="stable")]
            batches += [pool[i : i + 64] for i in range(0, len(pool), 64)]
        for i in rng.permutation(len(batches)):
            members = batches[i]
            x = np.zeros((len(members), count[members].max(), every.shape[1]), np.float32)
            for k, m in enumerate(members):
                x[k, : count[m]] = lines[m]
            there = torch.from_numpy((count[members][:, None] > np.arange(x.shape[1])).astype(np.float32))
            for group in optimizer.param_groups:
                group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            logits = net(torch.from_numpy(x), there, torch.from_numpy(facts[members]))
            F.binary_cross_entropy_with_logits(logits, y[members]).backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
    return arrays(net, scale)


def arrays(net: Judge, scale: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a judge as the arrays of heads.npz: large matrices as int8 times one factor a column."""
    out = {k: v.astype(np.float32) for k, v in scale.items()}
    w = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    for i in (0, 1):  # taps -1, 0, 1 below each other
        w[f"near{i + 1}.weight"] = w.pop(f"near.{i}.weight").transpose(0, 2, 1).reshape(len(w["line.bias"]), -1)
        w[f"near{i + 1}.bias"] = w.pop(f"near.{i}.bias")
    for name in ("line", "near1", "near2", "last"):
        out |= coded(name, w[f"{name}.weight"].T) | {f"{name}_b": w[f"{name}.bias"]}
    out |= {"query": np.ascontiguousarray(w["query.weight"].T), "query_b": w["query.bias"]}
    out |= {"out": w["out.weight"][0], "out_b": w["out.bias"][0]}
    return {f"judge_{k}": np.asarray(v) for k, v in out.items()}


def fit(args: argparse.Namespace) -> None:
    """Fit the image head and report on the test part: each half by a head fitted on the other half's sentences.

    The shipped thresholds are those of all benign test pictures so judged. What they flag is reported as it must be expected
    of other pictures: each half is judged by the thresholds of the other.
    """
    from train import auc

    from ondevice_guard.linereader import (
        LINE_FACTS,
        PICTURE_FACTS,
        LineReader,
        _decoded,
        _Judge,
        picture_facts,
        reading_order,
    )

    torch.set_num_threads(1)
    with np.load(OUT / "heads.npz") as f:
        heads = {k: f[k] for k in f.files if k.startswith("meaning")}
    width = blocks()["facts"][1] + 1 + LINE_FACTS
    blank = Judge(width, PICTURE_FACTS)
    scale = {f"line_{k}": np.ones(width) for k in ("mean", "deviation")}
    scale |= {f"picture_{k}": np.ones(PICTURE_FACTS) for k in ("mean", "deviation")}
    # The reader wants some judge: an untrained one until there is a better.
    np.savez(OUT / "heads.npz", **heads, **arrays(blank, scale))
    write_config()
    reader = LineReader(OUT.parent)
    remembered = CACHE / f"evidence_{hashlib.sha256((OUT / 'model.onnx').read_bytes()).hexdigest()[:12]}.pkl"
    known: dict[tuple[str, int], list[tuple[np.ndarray, ...]]] = (
        pickle.loads(remembered.read_bytes()) if remembered.exists() else {}
    )

    def rows(part: str, picture: dict) -> list[Row]:
        key = (part, picture["index"])
        if key not in known:
            known[key] = []
            for v in picture["views"]:
                if len(v["strips"]):
                    order = reading_order(v["quads"])
                    known[key].append((reader.read(v["strips"])[order], v["layout"][0][order], v["layout"][1]))
        own = [(np.concatenate([evidence, each], 1), ground) for evidence, each, ground in known[key]]
        return [(lines, picture_facts(lines, ground)) for lines, ground in own]

    def fitted(*halves: int) -> dict:
        """On the `fit` and `fresh` pictures of these halves, and all of `train` and `ground`."""
        some = [(part, p) for part, p in ours if part in ("train", "ground") or p["half"] in halves]
        own = [(r, p["kind"] in ATTACKS) for part, p in some for r in rows(part, p)]
        return trained([r for r, _ in own], [y for _, y in own])

    def logit(picture: list[Row], judge: _Judge) -> float:
        return max((judge(*r) for r in picture), default=-np.inf)

    ours, test = [(part, p) for part in PARTS for p in load(part)], load("test")
    kinds, ratio = np.array([p["kind"] for p in test]), np.array([p["ratio"] for p in test])
    t, side = np.isin(kinds, ATTACKS), np.array([p["half"] for p in test])
    by_half = [_Judge(_decoded(fitted(h)), width) for h in (0, 1)]
    z = np.array([logit(rows("test", p), by_half[1 - p["half"]]) for p in test])
    # Even odds where 1 % of benign pictures begin: a scale on which it can stand beside the findings of the text map.
    even = np.quantile(z[~t], 0.99, method="higher")
    w = fitted(0, 1)
    w["judge_out_b"] = np.float32(w["judge_out_b"] - even)
    np.savez(OUT / "heads.npz", **heads, **w)
    s = 1 / (1 + np.exp(-np.clip(z - even, -700, 30)))
    remembered.write_bytes(pickle.dumps(known))
    lines = np.array([max((len(v["strips"]) for v in p["views"]), default=0) for p in test])
    documents, legible = np.isin(kinds, DOCUMENTS), ratio >= LEGIBLE
    points_at = {k: round(min(1.0, v), 6) for k, v in points(s[~t]).items()}
    cut = float(np.quantile(s[~t], 0.99))
    by_type = {k: s[kinds == k] > cut for k in ATTACKS}
    figures: dict[str, object] = {
        "pictures": {
            "fitted on": {part: sum(p == part for p, _ in ours) for part in PARTS},
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
    ap.add_argument("--part", default="test", choices=("fit", "fresh", "train", "ground", "test"))
    ap.add_argument("--pictures", type=int, default=1000)
    ap.add_argument("--start", type=int, default=0, help="of the indices, to gather in pieces")
    ap.add_argument("--seed", type=int, default=1)
    args = ap.parse_args()
    {"gather": gather, "fit": fit}[args.what](args)
