"""Fit the linear prompt model: hashed word and character n-grams, one logistic regression a class, int8 weights.

    python training/text_linear/train.py --data DATA --out training/text_linear/runs

Features come from the native core itself, so that training and inference cannot differ. Writes `weights.bin` (OGL2, see
cpp/include/ondevice_guard/text.hpp), `scores.npz` with the logits of the held-out rows, and `report.json`.
"""

from __future__ import annotations

import argparse
import json
import struct
import sys
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).parents[1] / "text"))

import data as texts

from ondevice_guard import _core

BITS = 18  # 2^18 x 3 int8 = 768 KiB; 17 bits cost one point of AUROC in the first runs, 19 would exceed 1 MB
WORDS = 256  # one window


def matrix(rows: list[texts.Row], bits: int = BITS) -> sp.csr_matrix:
    """Return rows x 2^bits float32: counts of hashed features over the first window, divided by sqrt(their number)."""
    indptr, indices, values = [0], [], []
    for row in rows:
        text = _core.text.normalize(row["text"][:6000]).text
        cut = " ".join(text.split(" ")[: WORDS * 2])[:1600]
        f = _core.text.features(cut, bits)
        ids, counts = np.unique(f, return_counts=True)
        indices.append(ids.astype(np.int32))
        values.append((counts / np.sqrt(max(1, len(f)))).astype(np.float32))
        indptr.append(indptr[-1] + len(ids))
    return sp.csr_matrix(
        (np.concatenate(values), np.concatenate(indices), np.array(indptr)), shape=(len(rows), 1 << bits)
    )


def fit(x: sp.csr_matrix, y: np.ndarray, weight: np.ndarray, strength: float, steps: int) -> tuple[np.ndarray, float]:
    """Weighted logistic regression with an L2 penalty, by L-BFGS."""
    xt = x.T.tocsr()
    total = weight.sum()

    def value(p: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = p[:-1].astype(np.float32), p[-1]
        z = (x @ w + b).astype(np.float64)
        loss = np.logaddexp(0, z) - y * z
        r = (1 / (1 + np.exp(-z)) - y) * weight / total
        grad = np.append(xt @ r.astype(np.float32), r.sum()).astype(np.float64)
        grad[:-1] += strength * p[:-1]
        return float((loss * weight).sum() / total + 0.5 * strength * (p[:-1] ** 2).sum()), grad

    found = minimize(
        value, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": steps, "maxcor": 8}
    )
    return found.x[:-1].astype(np.float32), float(found.x[-1])


def quantize(w: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """int8 with one scale a class; the largest hundred-thousandth of the weights is clipped."""
    scale = np.float32(np.quantile(np.abs(w[w != 0]), 0.99999) / 127)
    return np.clip(np.rint(w / scale), -127, 127).astype(np.int8), scale


def pack(table: np.ndarray, bias: list[float], scale: list[float], handicap: np.ndarray, bits: int = BITS) -> bytes:
    """The OGL2 file; `handicap` is 2 x classes, of one sentence and of two."""
    head = (
        b"OGL2" + struct.pack("<II", bits, len(texts.LABELS)) + struct.pack("<3f", *bias) + struct.pack("<3f", *scale)
    )
    return head + handicap.astype("<f4").tobytes() + table.tobytes()


def handicaps(table: np.ndarray, bias: list[float], scale: list[float], held: list[texts.Row]) -> np.ndarray:
    """How much to lower the scores of sentences: the worst of a document's sentences must pass the operating point of
    whole texts in at most one of 200 benign documents, for each class.

    Documents are the held-out ordinary benign rows of more than 64 words.
    """
    never = np.full((2, len(texts.LABELS)), 1e9)
    read = [_core.text.normalize(r["text"]).text for r in held if r["label"] == "benign" and "look_" not in r["source"]]
    whole = _core.text.Linear(pack(table, bias, scale, never))
    plain = np.array([whole.score(t)[0] for t in read])
    points = [texts.operating_point(plain[:, k], 0.01) for k in range(len(texts.LABELS))]
    long = [i for i, t in enumerate(read) if len(_core.text.words(t)) > 64]
    out = np.zeros_like(never)
    for level in (0, 1):
        open_ = never.copy()
        open_[level] = 0
        model = _core.text.Linear(pack(table, bias, scale, open_))
        z = np.array([model.score(read[i])[0] for i in long])
        for k, point in enumerate(points):
            worst = np.where(z[:, k] > plain[long, k], z[:, k], -1e9)
            out[level, k] = max(0.0, texts.operating_point(worst, 0.005) - point)
    print(f"handicaps from {len(long)} documents: {out.round(3).tolist()}", flush=True)
    return out


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--out", default=str(Path(__file__).parent / "runs"))
    arg.add_argument("--generated", type=int, default=45000)
    arg.add_argument("--strength", type=float, default=2e-6)
    arg.add_argument("--steps", type=int, default=60)
    arg.add_argument("--seed", type=int, default=1)
    arg.add_argument("--everything", action="store_true", help="also train on the held-out attack sources")
    args = arg.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    folder = texts.data_dir(args.data)
    rows = texts.training_rows(folder, generated=args.generated, seed=args.seed, everything=args.everything)
    x = matrix(rows)
    y, w = texts.targets(rows)
    w *= texts.source_weights(rows)[:, None]
    print(f"{len(rows)} rows, {x.nnz / len(rows):.0f} features each, {time.process_time() - start:.0f} s", flush=True)
    table = np.zeros((1 << BITS, len(texts.LABELS)), np.int8)
    bias, scale = [], []
    for k in range(len(texts.LABELS)):
        weights, b = fit(x, y[:, k], w[:, k], args.strength, args.steps)
        table[:, k], s = quantize(weights)
        bias.append(b)
        scale.append(s)
        print(f"{texts.LABELS[k]}: {time.process_time() - start:.0f} s", flush=True)
    held = texts.evaluation_rows(folder)
    blob = pack(table, bias, scale, handicaps(table, bias, scale, held))
    (out / "weights.bin").write_bytes(blob)
    (out / "manifest.json").write_text(json.dumps(texts.manifest(rows), indent=1))
    model = _core.text.Linear(blob)
    logits = np.array([model.score(_core.text.normalize(r["text"]).text)[0] for r in held], np.float32)
    np.savez(out / "scores.npz", logits=logits)
    result = texts.judge(held, logits)
    (out / "report.json").write_text(
        json.dumps(
            {"arguments": vars(args), "held_out": result, "cpu_seconds": round(time.process_time() - start)}, indent=1
        )
    )
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
