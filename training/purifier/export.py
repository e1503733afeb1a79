"""Checkpoint → model directory: ONNX, int8 (QDQ, per-channel weights), config.json.

python training/purifier/export.py --data DIR --cache DIR --checkpoint ema.pt --out models/purifier_v1
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
import torch
from attacks import load_rgb, photos, to_tensor
from net import Purifier
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from train import random_crop, strength, with_map


class Calibration(CalibrationDataReader):
    """Crops of the training part, a third each attacked, noisy and clean, with the strength that is read off them."""

    def __init__(self, data: Path, cache: Path, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        files, shards = photos(data, "train"), sorted((cache / "pool").glob("*.npz"))
        inputs = []
        for i in range(n):
            if i % 3 == 0:
                with np.load(shards[rng.integers(len(shards))]) as shard:
                    x = shard["adv"][rng.integers(len(shard["adv"]))].astype(np.float32)
            else:
                x = random_crop(load_rgb(files[rng.integers(len(files))]), rng).astype(np.float32)
                x = np.clip(
                    np.rint(x + rng.standard_normal(x.shape) * (rng.uniform(2, 50) if i % 3 == 1 else 0)), 0, 255
                )
            pixels = to_tensor(x[None].astype(np.uint8))
            inputs.append({"x": with_map(pixels, strength(pixels)).contiguous().numpy()})
        self.inputs = iter(inputs)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.inputs, None)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--checkpoint", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    net = Purifier().eval()
    net.load_state_dict({k: v.float() for k, v in torch.load(a.checkpoint).items()})
    a.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        plain, ready, small = (str(Path(folder) / n) for n in ("plain.onnx", "ready.onnx", "model.onnx"))
        axes = {"x": {0: "n", 2: "h", 3: "w"}, "y": {0: "n", 2: "h", 3: "w"}}
        torch.onnx.export(
            net,
            (torch.rand(1, 4, 64, 64),),
            plain,
            input_names=["x"],
            output_names=["y"],
            dynamo=False,
            opset_version=17,
            dynamic_axes=axes,
        )
        quant_pre_process(plain, ready, skip_symbolic_shape=True)
        # The picture itself passes beside the quantised residual, in full precision.
        quantize_static(
            ready,
            small,
            Calibration(a.data, a.cache, 60, a.seed),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv", "Relu", "Mul", "Sigmoid", "Add", "Resize"],
        )
        raw = Path(small).read_bytes()
        runs = [ort.InferenceSession(f, providers=["CPUExecutionProvider"]) for f in (ready, small)]
        apart = [
            np.subtract(*(np.clip(run.run(None, x)[0], 0, 1) for run in runs)) ** 2
            for x in Calibration(a.data, a.cache, 12, a.seed + 1).inputs
        ]
    (a.out / "model.onnx").write_bytes(raw)
    manifest = hashlib.sha256("\n".join(f.name for f in photos(a.data, "train")).encode()).hexdigest()
    config = {
        "schema": 1,
        "name": "purifier",
        "version": 1,
        "licence": "Apache-2.0",
        "files": {"model.onnx": {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}},
        "graph": "model.onnx",
        "inputs": {
            "x": {
                "dtype": "float32",
                "shape": ["n", 4, "h", "w"],
                "layout": "NCHW",
                "scale": 1 / 255,
                "channels": ["R", "G", "B", "strength (standard deviation of the noise)"],
                "multiple": 8,
            }
        },
        "labels": [],
        "thresholds": {},
        "trained_on": [
            {
                "source": "650 photographs, `train` part (training/purifier/attacks.py), EfficientNet-Lite1 and 2",
                "licence": "ImageNet: non-commercial research",
                "files": len(photos(a.data, "train")),
                "sha256": manifest,
            }
        ],
        "metrics": {
            "parameters": sum(v.numel() for v in net.parameters()),
            "int8_against_fp32_rms_255": round(float(np.sqrt(np.mean(apart)) * 255), 3),
        },
    }
    (a.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(json.dumps(config["metrics"]), len(raw))


if __name__ == "__main__":
    main()
