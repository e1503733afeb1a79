# ruff: noqa: E402
"""Turn a checkpoint of the prompt encoder into models/text_encoder_v1, and calibrate it together with text_linear_v1.

    python training/text_encoder/export.py --data DATA --checkpoint RUN/last.pt --linear RUN_OF_TEXT_LINEAR --out models

Writes both model directories: int8 graph (dynamic quantisation, 7-bit weights so that sums are exact on CPUs without
VNNI too), vocabulary, the ensemble's calibration, the cascade's limits and the operating points. Everything is fitted
on held-out sources; the figures of the report are cross-fitted: a source is judged by a calibration that never saw it.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "text")]

import data as texts
import foreign
import train

from ondevice_guard import _core, runtime
from ondevice_guard.detectors.text import TextDetector

RATES = (0.03, 0.01, 0.002)


class _Attention(torch.autograd.Function):
    """onnxruntime's own fused attention without a mask; only its shape matters while the graph is traced."""

    @staticmethod
    def forward(ctx: object, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return q.clone()

    @staticmethod
    def symbolic(g, q, k, v):  # type: ignore[no-untyped-def]
        return g.op("com.microsoft::MultiHeadAttention", q, k, v, num_heads_i=train.HEADS)


class _Sum(torch.autograd.Function):
    """x + y as the operator Sum: onnxruntime would fuse Add with the normalisation into a kernel five times slower."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return x + y

    @staticmethod
    def symbolic(g, x, y):  # type: ignore[no-untyped-def]
        return g.op("Sum", x, y)


class Shipped(nn.Module):
    """The encoder with its word table in int8, one scale for each piece; windows of equal length, so without a mask."""

    def __init__(self, model: train.Encoder) -> None:
        super().__init__()
        table = model.words.weight.detach()
        scale = table.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
        self.register_buffer("table", torch.clamp(torch.round(table / scale), -127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        m = self.model
        x = m.norm(m.widen(self.table[ids].float() * self.scale[ids]) + m.places[: ids.shape[1]])
        for layer in m.layers:
            x = layer.norm1(_Sum.apply(x, layer.out(_Attention.apply(*layer.qkv(x).split(train.WIDTH, -1)))))
            x = layer.norm2(_Sum.apply(x, layer.down(torch.nn.functional.gelu(layer.up(x)))))
        return m.head(torch.nn.functional.gelu(m.hidden(torch.cat([x.mean(1), x.amax(1)], 1))))


def graph(model: train.Encoder, folder: Path) -> bytes:
    """Export, optimise and quantise."""
    shipped = Shipped(model).eval()
    ids = torch.randint(4, 1000, (2, 17))
    path = folder / "fp32.onnx"
    torch.onnx.export(
        shipped, (ids,), str(path), input_names=["ids"], output_names=["logits"], opset_version=17,
        dynamic_axes={"ids": {0: "b", 1: "t"}, "logits": {0: "b"}}, dynamo=False,
    )  # fmt: skip
    quantize_dynamic(
        str(path), str(folder / "int8.onnx"), op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, reduce_range=True,
        weight_type=QuantType.QInt8, extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip
    (folder / "fp32.onnx").unlink()
    return (folder / "int8.onnx").read_bytes()


def raw_scores(models: Path, rows: list[texts.Row]) -> tuple[np.ndarray, np.ndarray]:
    """Logits (encoder, linear) rows x 3 of both stages, read by the very detector that will use them."""
    detector = TextDetector(models, cascade=False)
    both = [detector.explain(r["text"])[1] for r in rows]
    return np.array([b["encoder"] for b in both], np.float64), np.array([b["linear"] for b in both], np.float64)


def crossfit(rows: list[texts.Row], enc: np.ndarray, lin: np.ndarray, ordinary: np.ndarray) -> dict[str, object]:
    """Figures of the ensemble where the coefficients and the threshold that judge a source never saw its attacks."""
    source = np.array([r["source"] for r in rows])
    out: dict[str, object] = {}
    for k, name in enumerate(texts.LABELS):
        mine = np.array([r["label"] == name for r in rows])
        both = np.column_stack([enc[:, k], lin[:, k]])
        total = area = hits = 0.0
        for s in sorted(set(source[mine])):
            fitted = (mine & (source != s)) | ordinary
            *a, _ = texts.platt(both[fitted], mine[fitted].astype(float))
            z = both @ np.array(a)
            part = z[mine & (source == s)]
            area += len(part) * texts.auroc(z[ordinary], part)
            hits += float((part >= texts.operating_point(z[ordinary], 0.01)).sum())
            total += len(part)
        out[name] = {"auroc": round(area / total, 4), "recall_at_1": round(hits / total, 4), "rows": int(total)}
    return out


def trick_scores(rows: list[texts.Row]) -> tuple[dict[str, float], dict[str, float], np.ndarray]:
    """Score of each trick from its rate in benign rows: 0.95 when never seen, 0.15 less for each tenfold (0.5 at 1 %)."""
    seen: collections.Counter[str] = collections.Counter()
    per_row = []
    for row in rows:
        kinds = {f.trick for f in _core.text.normalize(row["text"]).found}
        seen.update(kinds)
        per_row.append(kinds)
    every = (
        "invisible",
        "tags",
        "selectors",
        "bidi",
        "homoglyph",
        "base64",
        "hex",
        "escape",
        "rot13",
        "reversed",
        "leet",
        "spacing",
    )
    rate = {t: seen[t] / len(rows) for t in every}
    score = {t: round(float(np.clip(0.2 - 0.15 * np.log10(rate[t] + 1e-5), 0.05, 0.95)), 3) for t in every}
    return score, rate, np.array([max((score[t] for t in kinds), default=0.0) for kinds in per_row])


def sha(data: bytes) -> dict[str, object]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--checkpoint", required=True)
    arg.add_argument(
        "--linear", required=True, help="folder with weights.bin, scores.npz, manifest.json of text_linear/train.py"
    )
    arg.add_argument("--manifest", help="manifest.json of the encoder's run; default: beside the checkpoint")
    arg.add_argument("--out", default="models")
    arg.add_argument("--scores", help="scores.npz of an earlier export of the same checkpoint and linear model")
    args = arg.parse_args()
    torch.set_num_threads(1)
    model, vocab = train.restore(args.checkpoint)
    model.eval()
    encoder, linear = Path(args.out) / "text_encoder_v1", Path(args.out) / "text_linear_v1"
    for folder in (encoder, linear):
        folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(args.checkpoint).parent
    blob = graph(model, scratch)
    folder = texts.data_dir(args.data)
    rows = texts.evaluation_rows(folder)
    label = np.array([r["label"] for r in rows])
    source = np.array([r["source"] for r in rows])
    ordinary = (label == "benign") & ~np.char.startswith(source, "look_")

    weights = (Path(args.linear) / "weights.bin").read_bytes()
    (encoder / "model.onnx").write_bytes(blob)
    (encoder / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    (linear / "weights.bin").write_bytes(weights)
    manifest = Path(args.manifest) if args.manifest else scratch / "manifest.json"
    encoder_config = {
        "schema": 1,
        "name": "text_encoder",
        "version": 1,
        "licence": "Apache-2.0",
        "task": "prompt-classification",
        "files": {f: sha((encoder / f).read_bytes()) for f in ("model.onnx", "vocab.txt")},
        "graph": "model.onnx",
        "inputs": {"ids": {"dtype": "int64", "shape": ["b", "t"]}},
        "window": {"tokens": train.MAX_TOKENS, "step": (train.MAX_TOKENS - 2) * 3 // 4},
        "labels": list(texts.LABELS),
    }
    linear_config = {
        "schema": 1,
        "name": "text_linear",
        "version": 1,
        "licence": "Apache-2.0",
        "task": "prompt-classification",
        "files": {"weights.bin": sha(weights)},
        "labels": list(texts.LABELS),
    }

    def save(path: Path, config: dict[str, object]) -> None:
        (path / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    nothing = {key: [1.0, 1.0, 0.0] for key in texts.LABELS}  # raw logits need no calibration, the detector wants one
    plain = {
        "ensemble": nothing,
        "linear": {k: v[:2] for k, v in nothing.items()},
        "cascade": dict.fromkeys(texts.LABELS, 0.0),
        "fragmented": {"share": 1.0},
    }
    save(encoder, {**encoder_config, "calibration": plain, "tricks": {}})
    save(linear, linear_config)
    if args.scores:
        stored = np.load(args.scores)
        enc, lin = stored["logits"], stored["linear"]
    else:
        enc, lin = raw_scores(Path(args.out), rows)
    np.savez(scratch / "scores.npz", logits=enc, linear=lin)

    ensemble, alone, cascade, points = {}, {}, {}, {}
    final = np.zeros((len(rows), 3))
    for k, name in enumerate(texts.LABELS):
        mine = label == name
        fitted = mine | ordinary
        both = np.column_stack([enc[:, k], lin[:, k]])
        coefficients = texts.platt(both[fitted], mine[fitted].astype(float))
        final[:, k] = texts.sigmoid(both @ np.array(coefficients[:2]) + coefficients[2])
        ensemble[name] = [round(c, 6) for c in coefficients]
        points[name] = {str(r): round(texts.operating_point(final[ordinary, k], r), 6) for r in RATES}
        alone[name] = [round(c, 6) for c in texts.platt(lin[fitted, k], mine[fitted].astype(float))]
        caught = lin[mine & (final[:, k] >= points[name]["0.01"]), k]
        cascade[name] = round(float(np.quantile(caught, 0.01)), 4)  # one detection in a hundred may be lost to speed
        # A text that stops at the first stage must not be flagged there: its linear probability stays below every point.
        a, b = alone[name]
        top = texts.sigmoid(np.array([a * cascade[name] + b]))[0]
        if top >= min(points[name].values()):
            limit = min(points[name].values())
            alone[name][1] = round(float(np.log(limit / (1 - limit)) - a * cascade[name] - 1e-3), 6)
    tricks, rates, hidden = trick_scores(
        [r for r in texts.load(folder) if r["label"] == "benign" and r["source"] != "neuralchemy_core"]
    )
    # Text without any trick scores 0 and must never be flagged, however rare tricks are among benign rows.
    points["obfuscation"] = {str(r): round(max(0.5, min(0.999, texts.operating_point(hidden, r))), 6) for r in RATES}

    def cascaded(z: np.ndarray) -> np.ndarray:
        skip = (lin < np.array([cascade[n] for n in texts.LABELS])).all(1)
        out = z.copy()
        for k, name in enumerate(texts.LABELS):
            a, b = alone[name]
            out[skip, k] = texts.sigmoid(a * lin[skip, k] + b)
        return out

    shipped = cascaded(final)
    skip = (lin < np.array([cascade[n] for n in texts.LABELS])).all(1)
    spent = []
    for _ in range(30):
        start = time.process_time()
        runtime.load("text_encoder", args.out).run({"ids": np.arange(100, 202)[None]})
        spent.append((time.process_time() - start) * 1e3)
    report = {
        "linear": texts.judge(rows, lin),
        "encoder": texts.judge(rows, enc),
        "ensemble": texts.judge(rows, final),
        "shipped_cascade": texts.judge(rows, shipped),
        "encoder_skipped": {
            "ordinary_benign": round(float(skip[ordinary].mean()), 4),
            "attacks": round(float(skip[label != "benign"].mean()), 4),
        },
        "cpu_ms_100_tokens": round(float(np.median(spent)), 2),
    }
    (scratch / "report.json").write_text(json.dumps(report, indent=1))

    def figures(name: str) -> dict[str, object]:
        r = report[name]
        short = {k: {m: r[k][m] for m in ("auroc", "recall_at_1", "rows")} for k in texts.LABELS}
        return {**short, "lookalikes_flagged": r["lookalikes"], "benign_rows": r["benign"]}

    config = {
        **encoder_config,
        "calibration": {"ensemble": ensemble, "linear": alone, "cascade": cascade, "fragmented": {"share": 1.0}},
        "tricks": tricks,
        "thresholds": points,
        "trained_on": json.loads(manifest.read_text()) if manifest.is_file() else [],
        "metrics": {
            "held_out": {
                "ensemble_cross_fitted": crossfit(rows, enc, lin, ordinary),
                "shipped_cascade": figures("shipped_cascade"),
                "encoder": figures("encoder"),
            },
            "trick_rate_in_benign": {k: round(v, 6) for k, v in rates.items()},
            "encoder_skipped": report["encoder_skipped"],
            "held_out_sources": {
                "benign": list(texts.BENIGN_HELD_OUT),
                "attack": [list(x) for x in texts.ATTACK_HELD_OUT],
            },
        },
    }
    save(encoder, config)
    point = float(points["harmful"]["0.01"])
    config["calibration"]["fragmented"], config["metrics"]["fragmented"] = foreign.fit(
        Path(args.out), texts.load(folder), point
    )
    save(encoder, config)
    lin_points = {
        n: {
            str(r): round(texts.operating_point(texts.sigmoid(alone[n][0] * lin[ordinary, k] + alone[n][1]), r), 6)
            for r in RATES
        }
        for k, n in enumerate(texts.LABELS)
    }
    config = {
        **linear_config,
        "calibration": alone,
        "thresholds": lin_points,
        "trained_on": json.loads((Path(args.linear) / "manifest.json").read_text()),
        "metrics": {"held_out": figures("linear")},
    }
    save(linear, config)
    print("cross-fitted", crossfit(rows, enc, lin, ordinary))
    for name in ("linear", "encoder", "ensemble", "shipped_cascade"):
        r = report[name]
        print(
            name,
            {k: (r[k]["auroc"], r[k]["recall_at_1"]) for k in texts.LABELS},
            r["lookalikes"],
            "any:",
            r["flagged_any_ordinary"],
        )
    print(report["encoder_skipped"], report["cpu_ms_100_tokens"], "ms;", len(blob), "bytes;", rates)


if __name__ == "__main__":
    main()
