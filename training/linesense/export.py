"""Checkpoint → int8 ONNX graph and line heads of `models/linesense_v1`.

    python training/linesense/export.py --data ../shared/data --run runs/a     # then evaluate.py fit and measure

Batch norms are folded, the letter and word heads dropped, activations quantised to uint8 and weights to int8 per
channel from about 600 rendered training lines. `evaluate.py` then fits the image head and measures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent), str(ROOT / "python")]

import assets  # noqa: E402
from graphs import short_names  # noqa: E402
from model import CONCEPTS, Reader  # noqa: E402
from phrases import Dictionary  # noqa: E402
from render import SCRIPTS  # noqa: E402
from train import GROUPS, Batches, source  # noqa: E402
from wording import LABELS  # noqa: E402

OUT = ROOT / "models" / "linesense_v1"


class Shipped(nn.Module):
    """uint8 N x 1 x 32 x W → float N x (concepts, triggers, facts)."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, lines: torch.Tensor) -> torch.Tensor:
        _, context, centre, triggers, facts = self.reader((lines.float() - 128) / 64)
        return torch.cat([self.reader.lines(context, centre), triggers, facts], 1)


def fold(module: nn.Module) -> None:
    """Fold every Conv-BatchNorm pair of a Sequential into the convolution."""
    for child in module.children():
        if isinstance(child, nn.Sequential) and len(child) == 3 and isinstance(child[1], nn.BatchNorm2d):
            child[0] = torch.nn.utils.fusion.fuse_conv_bn_eval(child[0], child[1])
            child[1] = nn.Identity()
        else:
            fold(child)


def word_places(path: Path) -> list[str]:
    """Return the names of the nodes that find where words are: all that the places of `TopK` depend on, up to `centre`."""
    import onnx

    nodes = onnx.load(str(path)).graph.node
    made = {out: node for node in nodes for out in node.output}
    todo = [name for node in nodes if node.op_type == "TopK" for name in node.input]
    names: dict[str, None] = {}
    while todo:
        node = made.get(todo.pop())
        if node is not None and node.name not in names:
            names[node.name] = None
            todo += [] if node.op_type == "Conv" else node.input
    return [*names]


def graph(args: argparse.Namespace) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    torch.set_num_threads(1)
    saved = torch.load(args.run / "checkpoint.pt", weights_only=False)
    reader = Reader(len(GROUPS), len(SCRIPTS), len(LABELS))
    reader.load_state_dict(saved["reader"])
    reader.eval()
    fold(reader)
    OUT.mkdir(parents=True, exist_ok=True)
    work = args.run / "export"
    work.mkdir(exist_ok=True)
    torch.onnx.export(
        Shipped(reader).eval(),
        (torch.zeros(2, 1, 32, 256, dtype=torch.uint8),),
        work / "float.onnx",
        input_names=["lines"],
        output_names=["evidence"],
        dynamic_axes={"lines": {0: "n", 3: "w"}, "evidence": {0: "n"}},
        opset_version=17,
        dynamo=False,
    )
    quant_pre_process(str(work / "float.onnx"), str(work / "ready.onnx"), skip_symbolic_shape=True)
    corpus, renderer, rng = source(assets.data_dir(args.data), "train", 77, 120)
    draw = Batches(corpus, renderer, Dictionary([]), rng)
    batches = [draw(12_000)["x"].numpy() for _ in range(10)]

    class Feed(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = iter(batches)

        def get_next(self):
            x = next(self.rows, None)
            return None if x is None else {"lines": x}

    quantize_static(
        str(work / "ready.onnx"),
        str(OUT / "model.onnx"),
        Feed(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=CalibrationMethod.MinMax,
        # With Relu, what a convolution gives is coded after it: concepts below zero need no codes. Where words are stays in
        # full precision: neighbours that become equal are one peak less, and places in codes of eight bits are neither
        # in order nor all on one side of the line's end. Correlation of concepts with the float graph: .915 with
        # neither, .987 with Relu and the centres alone in full, .996 with the places too.
        op_types_to_quantize=["Conv", "Add", "Relu"],
        nodes_to_exclude=word_places(work / "ready.onnx"),
    )
    import onnx
    import onnxruntime as ort

    onnx.save(short_names(onnx.load(str(OUT / "model.onnx"))), str(OUT / "model.onnx"))
    a, b = (ort.InferenceSession(str(p)) for p in (work / "float.onnx", OUT / "model.onnx"))
    fa, fb = (np.concatenate([s.run(None, {"lines": x})[0] for x in batches[:4]]) for s in (a, b))
    for name, (i, j) in blocks().items():
        print(f"{name}: correlation float/int8 {np.corrcoef(fa[:, i:j].ravel(), fb[:, i:j].ravel())[0, 1]:.4f}")
    m = reader.meaning
    heads = {"meaning_w1": m[0].weight.T, "meaning_b1": m[0].bias, "meaning_w2": m[2].weight.T, "meaning_b2": m[2].bias}
    heads = {k: v.detach().numpy().astype(np.float32) for k, v in heads.items()}
    np.savez(OUT / "heads.npz", **coded("meaning_w1", heads.pop("meaning_w1")), **heads)
    (work / "row.json").write_text(json.dumps(saved["row"]))
    print("bytes", (OUT / "model.onnx").stat().st_size, "trained", saved["row"])


def blocks() -> dict[str, tuple[int, int]]:
    g, s = CONCEPTS + len(GROUPS), CONCEPTS + len(GROUPS) + len(SCRIPTS) + 1
    return {"concepts": (0, CONCEPTS), "triggers": (CONCEPTS, g), "facts": (g, s)}


def coded(name: str, matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return a matrix as int8 times one factor a column, as `linereader` reads it."""
    scale = (np.abs(matrix).max(0) / 127).astype(np.float32)
    return {f"{name}_int8": np.rint(matrix / scale).astype(np.int8), f"{name}_scale": scale}


def write_config(**more: object) -> None:
    """Write config.json with the checksums of what is there now, keeping keys that are not given."""
    path = OUT / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    config |= {
        "schema": 1,
        "name": "linesense",
        "version": 1,
        "licence": "Apache-2.0",
        "graph": "model.onnx",
        "files": {
            f: {"sha256": hashlib.sha256((OUT / f).read_bytes()).hexdigest(), "bytes": (OUT / f).stat().st_size}
            for f in ("model.onnx", "heads.npz")
        },
        "inputs": {
            "lines": {
                "dtype": "uint8",
                "layout": "NCHW",
                "shape": ["n", 1, 32, "w"],
                "made_by": "linereader.normalise",
                "pad": 128,
            }
        },
        "evidence": {
            "blocks": blocks(),
            "names": {"triggers": GROUPS, "facts": [*SCRIPTS, "upside_down"], "meaning": LABELS},
        },
        "labels": list(LABELS),
    } | more
    path.write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data")
    ap.add_argument("--run", type=Path, default=HERE / "runs" / "a")
    graph(ap.parse_args())
