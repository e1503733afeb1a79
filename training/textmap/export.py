"""Checkpoint → models/textmap_v1/model.onnx: batch norms folded, int8 QDQ, bytes in and bytes out.

    python training/textmap/export.py --checkpoint training/textmap/runs/1/last.pt [MORE.pt ...]   # their mean

Activations are uint8, weights int8 per output channel, ranges from composed training samples. The graph's input is
the front end's bytes and its output the quantised logits themselves, so that no float picture exists at inference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import render
import train
from graphs import short_names

from ondevice_guard.detectors.typographic import TRAITS

ROOT = Path(__file__).resolve().parents[2]


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: list[np.ndarray]) -> None:
        self._left = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        x = next(self._left, None)
        return None if x is None else {"patches": x}


def quantise(net: torch.nn.Module, inputs: list[np.ndarray], to: Path) -> tuple[float, int]:
    """Write the int8 graph; return scale and zero point of its output logits."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, coded = Path(folder) / "plain.onnx", Path(folder) / "coded.onnx"
        axes = {"patches": {0: "n", 1: "h", 2: "w"}, "map": {0: "n", 1: "h2", 2: "w2"}}
        torch.onnx.export(
            net.eval(),
            torch.zeros(1, 64, 64, 64),
            plain,
            input_names=["patches"],
            output_names=["map"],
            dynamic_axes=axes,
            dynamo=False,
            opset_version=17,
        )
        quantize_static(
            plain,
            coded,
            _Reader(inputs),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        model = onnx.load(coded)
    graph = model.graph
    values = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    # the input is a byte already: the quantiser right behind it (scale 1, zero point 0) goes away
    made = {n.output[0]: n for n in graph.node}
    first = next(n for n in graph.node if n.op_type == "QuantizeLinear" and _comes_from_input(n.input[0], made))
    scale, zero = float(values[first.input[1]]), int(values[first.input[2]])
    if abs(scale - 1) > 0.02 or zero != 0:
        raise SystemExit(
            f"input was quantised with scale {scale}, zero point {zero}; calibrate on samples that reach 0 and 255"
        )
    values_by_name = {t.name: t for t in graph.initializer}
    values_by_name[first.input[1]].CopyFrom(
        onnx.numpy_helper.from_array(np.float32(1.0).reshape(values[first.input[1]].shape), first.input[1])
    )
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == first.output[0]:
                node.input[i] = first.input[0]
    graph.node.remove(first)
    last = next(n for n in graph.node if n.output[0] == "map")
    if last.op_type != "DequantizeLinear":
        raise SystemExit(f"the graph ends in {last.op_type}")
    out_scale, out_zero, source = float(values[last.input[1]]), int(values[last.input[2]]), last.input[0]
    graph.node.remove(last)
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name == source:
                node.output[i] = "map"
        for i, name in enumerate(node.input):
            if name == source:
                node.input[i] = "map"
    repeat_by_copies(model)
    graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    short_names(model)
    model.producer_name, model.doc_string = "ondevice_guard training/textmap", ""
    to.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, to)
    return out_scale, out_zero


def repeat_by_copies(model: onnx.ModelProto) -> None:
    """Double maps by joining each with itself, columns then rows, in place of `Resize`; every output keeps its bits.

    ONNX Runtime's nearest neighbour looks up the source of each byte and takes a sixth of the graph's time; two copies of rows
    of channels take next to none.
    """
    graph = model.graph
    made = {name: n for n in graph.node for name in n.output}

    def constant(name: str, values: list[int]) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def user(name: str) -> onnx.NodeProto:
        (only,) = (n for n in graph.node if name in n.input)
        return only

    for resize in [n for n in graph.node if n.op_type == "Resize"]:
        before, after = made[resize.input[0]], user(resize.output[0])  # DequantizeLinear and QuantizeLinear
        coded = user(after.output[0])
        (like,) = (made[i].input[0] for i in user(coded.output[0]).input if i != coded.output[0])  # what it is added to
        name = resize.name.strip("/")
        steps = (
            ("Transpose", [before.input[0]], f"{name}_nhwc", {"perm": [0, 2, 3, 1]}),
            ("Concat", [f"{name}_nhwc"] * 2, f"{name}_columns", {"axis": 3}),
            ("Reshape", [f"{name}_columns", constant(f"{name}_row_shape", [0, 0, 1, -1])], f"{name}_row", {}),
            ("Concat", [f"{name}_row"] * 2, f"{name}_rows", {"axis": 2}),
            ("Shape", [like], f"{name}_shape", {}),
            ("Gather", [f"{name}_shape", constant(f"{name}_order", [0, 2, 3, 1])], f"{name}_nhwc_shape", {}),
            ("Reshape", [f"{name}_rows", f"{name}_nhwc_shape"], f"{name}_twice", {}),
            ("Transpose", [f"{name}_twice"], after.output[0], {"perm": [0, 3, 1, 2]}),
        )
        at = list(graph.node).index(before)
        for node in (before, resize, after):
            graph.node.remove(node)
        for kind, inputs, output, attributes in reversed(steps):
            graph.node.insert(at, onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
    used = {name for n in graph.node for name in n.input}
    for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
        graph.node.remove(node)
    del graph.value_info[:]


def _comes_from_input(name: str, made: dict[str, onnx.NodeProto]) -> bool:
    """True when only a transpose lies between a tensor and the graph's input."""
    return name == "patches" or (
        name in made and made[name].op_type == "Transpose" and made[name].input[0] == "patches"
    )


def main() -> None:
    """Command line."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--data")
    ap.add_argument("--checkpoint", nargs="+", default=[str(train.HERE / "runs" / "1" / "last.pt")], help="their mean")
    ap.add_argument("--to", default=str(ROOT / "models" / "textmap_v1"))
    args = ap.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    data = render.assets.data_dir(args.data)
    ends = [torch.load(path) for path in args.checkpoint]
    state = ends[-1]
    for key, value in state["net"].items():
        if value.is_floating_point():
            state["net"][key] = torch.stack([end["net"][key] for end in ends]).mean(0)
    net = train.TextMap()
    net.load_state_dict(state["net"])
    layers = dict(np.load(render.CACHE / "layers_train_1.npz"))
    composer = render.Composer(*render.load_photos(data, "train"), layers, 99)
    inputs = [train.collate([composer.sample() for _ in range(8)])["x"].numpy().astype(np.float32) for _ in range(8)]
    inputs[0][0, 0, 0, :2] = [0, 255]
    to = Path(args.to)
    scale, zero = quantise(net.fold(), inputs, to / "model.onnx")
    float_net = train.TextMap()
    float_net.load_state_dict(state["net"])
    held = render.Composer(*render.load_photos(data, "test"), dict(np.load(render.CACHE / "layers_test_0.npz")), 7)
    checks = [train.collate([held.sample() for _ in range(32)]) for _ in range(6)]
    float_metrics = train.evaluate(float_net, checks)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(to / "model.onnx"), providers=["CPUExecutionProvider"])

    class Coded(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (
                torch.from_numpy(session.run(None, {"patches": x.numpy().astype(np.uint8)})[0]).float() - zero
            ) * scale

    metrics = train.evaluate(Coded(), checks)
    blob = (to / "model.onnx").read_bytes()
    photos = render.assets.photos(data, "train")
    old = json.loads((to / "config.json").read_text()) if (to / "config.json").exists() else {}
    config = {
        "schema": 1,
        "name": "textmap",
        "version": 1,
        "licence": "Apache-2.0",
        "files": {"model.onnx": {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}},
        "graph": "model.onnx",
        "inputs": {
            "patches": {
                "dtype": "uint8",
                "layout": "NHWC",
                "shape": ["n", "h/4", "w/4", 64],
                "made_by": "_core.typographic.patches",
            }
        },
        "output": {"map": {"dtype": "uint8", "layout": "NHWC", "channels": 14, "scale": scale, "zero": zero}},
        "labels": ["text", "overlay", "core", "direction"],
        "evidence": old.get(
            "evidence",
            # the map's own logits, until benchmarks/typographic.py --calibrate fits all traits
            {
                "line": {"bias": 0.0, "weights": {t: float(t in ("text", "core")) for t in TRAITS}},
                "curve": {"bias": 0.0, "slope": 1.0},
            },
        ),
        "thresholds": old.get("thresholds", {}),
        "trained_on": [
            {
                "source": "650 ImageNet photographs, training part by name hash",
                "licence": "ImageNet: non-commercial research",
                "files": len(photos),
                "sha256": hashlib.sha256("\n".join(p.name for p in photos).encode()).hexdigest(),
            },
            {
                "source": "text rendered in Debian fonts, training families by name hash",
                "licence": "free fonts, per package",
                "files": len({f["family"] for f in render.font_table("train")}),
                "sha256": hashlib.sha256(
                    "\n".join(sorted({f["family"] for f in render.font_table("train")})).encode()
                ).hexdigest(),
            },
        ],
        "metrics": {
            **old.get("metrics", {}),
            "parameters": sum(p.numel() for p in net.parameters()),
            "training": {k: state[k] for k in ("step", "seed", "batch", "minutes")},
            "held_out_crops_float": {k: round(v, 4) for k, v in float_metrics.items()},
            "held_out_crops_int8": {k: round(v, 4) for k, v in metrics.items()},
        },
    }
    (to / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(json.dumps(config["metrics"], indent=1))


if __name__ == "__main__":
    main()
