"""The text model that teaches the reader what phrases mean: words → phrase concepts → order, harm, role, request, list.

    python training/linesense/phrases.py --data ../shared/data --minutes 7 --meanings DIR

Wording decides how far reading can go, and text is a thousand times cheaper to learn from than pictures of it. So the
sentence model is learned here, on true words wrapped into lines: embeddings, two convolutions over words of one line
(five words wide), 192 non-negative concepts at every word, the strongest of each over any union of lines, and a small
perceptron on that union. `train.py` then teaches the reader to show the same concepts at the same places of a rendered
line. Only the perceptron ships.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import assets  # noqa: E402
from corpus import Corpus  # noqa: E402
from model import CONCEPTS, MEANING, PHRASE  # noqa: E402
from wording import LABELS, Paragraph  # noqa: E402

#: Classes beyond the dictionary: rare words share them by hash, a number of any size is one word, line ends another.
RARE, NUMBER, EDGE = 8, 1, 0


def words_of(line: str) -> list[str]:
    """Return the words of a line, lower case, as `render.Renderer.line` places them."""
    out, start = [], None
    for i, c in enumerate(line + " "):
        if c.isalnum():
            start = i if start is None else start
        elif start is not None and not (c in "'’" and i + 1 < len(line) and line[i + 1].isalpha()):
            out.append(line[start:i].lower())
            start = None
    return out


class Dictionary:
    """Word → class."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self.index = {w: i + 2 + RARE for i, w in enumerate(words)}
        self.size = 2 + RARE + len(words)

    def __call__(self, word: str) -> int:
        if word in self.index:
            return self.index[word]
        return NUMBER if word.isdigit() else 2 + zlib.crc32(word.encode()) % RARE


class Phrases(nn.Module):
    """int N x T words (EDGE where there is none) → N x T x CONCEPTS, and the head over unions of them."""

    def __init__(self, size: int, labels: int) -> None:
        super().__init__()
        self.words = nn.Embedding(size, MEANING, padding_idx=EDGE)
        self.near = nn.Conv1d(MEANING, PHRASE, 3, padding=1)
        self.wide = nn.Conv1d(PHRASE, PHRASE, 3, padding=1)
        self.concepts = nn.Linear(PHRASE, CONCEPTS)
        self.meaning = nn.Sequential(nn.Linear(CONCEPTS, 64), nn.ReLU(inplace=True), nn.Linear(64, labels))

    def forward(self, t: Tensor) -> Tensor:
        h = F.relu(self.near(self.words(t).transpose(1, 2)))
        h = h + F.relu(self.wide(h))
        on = (t != EDGE)[:, :, None]
        return torch.relu(self.concepts(h.transpose(1, 2))) * on


class Pool:
    """Paragraphs drawn and looked up once: lists of lines of word classes, with labels."""

    def __init__(self, corpus: Corpus, words: Dictionary, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.any = [self._paragraph(corpus.any(), words) for _ in range(size)]
        kinds = ("plain", "ordinary", "request", "benign")
        self.harmless = [self._paragraph(("", corpus.draw(rng.choice(kinds))), words) for _ in range(size // 2)]

    def _paragraph(self, drawn: tuple[str, Paragraph], words: Dictionary) -> tuple[list[list[int]], list[float], float]:
        kind, (text, names) = drawn
        rows = [[words(w) for w in words_of(row)] for row in text.split("\n")[:24]]
        known = 0.7 if kind in ("injection", "harmful", "jailbreak") else 1.0  # their labels are of whole prompts
        return [r for r in rows if r], [float(n in names) for n in LABELS], known

    def __call__(self, unions: int = 96) -> dict[str, Tensor]:
        """Draw unions of paragraphs: alone, or in harmless company; wrapped; words lost as by a poor reader."""
        r = self.rng
        rows: list[list[int]] = []
        owner, labels, known = [], [], []
        for u in range(unions):
            parts = [r.choice(self.any)]
            if r.random() < 0.4:
                parts += [r.choice(self.harmless) for _ in range(r.choice((1, 1, 2, 4)))]
            wide = r.choice((2, 3, 4, 5, 7, 9))
            for lines, _, _ in parts:
                for line in lines:
                    for i in range(0, min(len(line), 60), wide):
                        rows.append(line[i : i + wide])
                        owner.append(u)
            labels.append(np.max([p[1] for p in parts], 0))
            known.append(parts[0][2])
        t = np.zeros((len(rows), 9), np.int64)
        for i, ids in enumerate(rows):
            t[i, : len(ids)] = ids
        noise = np.random.default_rng(r.getrandbits(32))
        lose = noise.random(t.shape) < noise.choice((0.0, 0.0, 0.1, 0.3), len(t))[:, None]
        t = np.where(lose & (t != EDGE), noise.integers(2, 2 + RARE, t.shape), t)
        return {
            "t": torch.from_numpy(t),
            "owner": torch.tensor(owner),
            "labels": torch.from_numpy(np.float32(labels)),
            "known": torch.tensor(known),
        }


def union(line: Tensor, owner: Tensor, n: int) -> Tensor:
    """Return the strongest of each concept over each paragraph's lines: n x C."""
    out = torch.zeros(n, line.shape[1])
    return out.scatter_reduce(0, owner[:, None].expand_as(line), line, "amax", include_self=True)


def meanings(folder: Path, words: list[str], width: int) -> Tensor:
    """Return what a pretrained sentence encoder takes each word to mean, in its `width` principal directions.

    So that a word that training saw a few times counts as its neighbours do ("rifle" as "gun"). The encoder (MiniLM,
    Wang et al., arXiv:2002.10957) is used here alone: nothing of it ships.
    """
    from sentence_transformers import SentenceTransformer

    x = torch.from_numpy(SentenceTransformer(str(folder), device="cpu").encode(words, batch_size=256))
    x = x - x.mean(0)
    _, _, v = torch.linalg.svd(x, full_matrices=False)
    y = x @ v[:width].T
    return y / y.std() * 0.6


def load(path: Path) -> tuple[Phrases, Dictionary]:
    saved = torch.load(path, weights_only=False)
    d = Dictionary(saved["words"])
    net = Phrases(d.size, len(LABELS))
    net.load_state_dict(saved["net"])
    return net.eval(), d


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data")
    ap.add_argument("--minutes", type=float, default=4, help="of processor time")
    ap.add_argument("--out", type=Path, default=HERE / "phrases.pt")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--meanings", type=Path, help="folder of a sentence encoder (all-MiniLM-L6-v2) to start words from")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    corpus = Corpus(assets.data_dir(args.data), "train", args.seed, HERE / "cache")
    count: Counter[str] = Counter()
    for _ in range(30_000):
        count.update(set(words_of(corpus.any()[1][0])))
    d = Dictionary([w for w, n in count.most_common(12_000) if n >= 4 and not w.isdigit()])
    net = Phrases(d.size, len(LABELS))
    if args.meanings:
        net.words.weight.data[2 + RARE :] = meanings(args.meanings, d.words, net.words.embedding_dim)
    opt = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.02)
    weight = torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5])
    draw = Pool(corpus, d, rng, 80_000)
    start, i, total = time.process_time(), 0, 0.0
    while (share := (time.process_time() - start) / (args.minutes * 60)) < 1:
        b = draw()
        for g in opt.param_groups:
            g["lr"] = 3e-3 * min(1.0, (i + 1) / 50) * (0.5 + 0.5 * float(np.cos(np.pi * share))) + 1e-5
        c = net(b["t"]).amax(1)
        z = net.meaning(F.dropout(union(c, b["owner"], len(b["labels"])), 0.3))
        # What a picture may not be flagged for decides the operating point: harmless unions that look risky count more.
        tail = 1 + 3 * torch.sigmoid(z.detach()) * (1 - b["labels"])
        loss = (
            F.binary_cross_entropy_with_logits(z, b["labels"], reduction="none") * weight * tail * b["known"][:, None]
        ).mean()
        sparse = 1e-3 * c.mean()
        opt.zero_grad()
        (loss + sparse).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        opt.step()
        i += 1
        total += float(loss.detach())
        if i % 100 == 0:
            print(
                json.dumps(
                    {
                        "step": i,
                        "minutes": round((time.process_time() - start) / 60, 1),
                        "loss": round(total / 100, 4),
                        "on": round(float((c > 0).float().mean()), 3),
                        "size": round(float(c[c > 0].mean()), 2),
                    }
                ),
                flush=True,
            )
            total = 0.0
    with torch.no_grad():  # one scale for all concepts, so that each counts alike when the reader learns them
        seen = torch.cat([net(draw()["t"]).amax(1) for _ in range(10)])
        scale = seen.quantile(0.98, 0).clamp_min(0.05)
        net.concepts.weight /= scale[:, None]
        net.concepts.bias /= scale
        net.meaning[0].weight *= scale
    torch.save({"net": net.state_dict(), "words": d.words}, args.out)


if __name__ == "__main__":
    main()
