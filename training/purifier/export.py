"""Checkpoint → model directory of models/: an int8 graph, bytes in and bytes out, and its config.json.

    python training/purifier/export.py --data DIR --cache DIR --checkpoint training/purifier/purifier.pt --out models/purifier_v1

`purifier_small.pt` makes models/purifier_small_v1, `denoiser.pt` models/denoiser_v1.

The graph's input are the 2x2 blocks of a picture with its strength (`_core.purify.blocks`), so that the stem's 6x6 convolution
of stride 2 is a 3x3 one of 16 channels; its output is the residual in whole levels, in such blocks or those of 4x4 pixels that
`Small` works on (`_core.purify.subtract`). Everything between is written down here as QDQ nodes: uint8 activations, weights of
7 bits and a sign per output channel (products of 8 bits overflow the 16-bit sums of CPUs without VNNI), each rounded so that
it makes up for those before it (GPTQ, Frantar et al., arXiv:2210.17323), the stem's bands scaled to one range and biases that
make up for the mean error of the rounding before them (both Nagel et al., arXiv:1906.04721).
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from attacks import load_rgb, photos, to_tensor
from net import Counter, Gated, Purifier, Small, UNet, fold, load
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from train import noisy_batch, random_crop, strength, with_map

#: Bytes a unit of strength takes in the input: levels are told in quarters, up to 63.75.
STEPS_PER_LEVEL = 4
#: Largest magnitude of a weight: two products with an uint8 stay below 2^15.
WEIGHT = 64


def crops(data: Path, cache: Path, n: int, seed: int, noise: bool) -> torch.Tensor:
    """Return crops of the training part as a network may meet them: with white noise of 0-55 and that strength, or a third each
    attacked, noisy and clean, with the strength that is read off them."""
    rng = np.random.default_rng(seed)
    if noise:
        images = [load_rgb(f) for f in photos(data, "train")]
        return torch.cat([noisy_batch(images, rng, 12, 160)[0] for _ in range(n // 12)]).contiguous()
    files, shards = photos(data, "train"), sorted((cache / "pool").glob("*.npz"))
    made = []
    for i in range(n):
        if i % 3 == 0:
            with np.load(shards[rng.integers(len(shards))]) as shard:
                x = shard["adv"][rng.integers(len(shard["adv"]))].astype(np.float32)
        else:
            x = random_crop(load_rgb(files[rng.integers(len(files))]), rng).astype(np.float32)
            x = np.clip(np.rint(x + rng.standard_normal(x.shape) * (rng.uniform(2, 50) if i % 3 == 1 else 0)), 0, 255)
        made.append(x.astype(np.uint8))
    pixels = to_tensor(np.stack(made))
    return with_map(pixels, strength(pixels)).contiguous()


@dataclass
class Coded:
    """A tensor of the graph: what it should be, and what its bytes stand for, on the calibration crops."""

    name: str
    value: torch.Tensor
    seen: torch.Tensor
    scale: float
    zero: int


def coded(value: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """Return what the bytes of `value` stand for."""
    return ((value / scale).round() + zero).clamp(0, 255).sub(zero) * scale


def best_range(value: torch.Tensor, relu: bool) -> tuple[float, int]:
    """Return scale and zero point of least squared error, among ranges from a third of the value's to all of it."""
    sample = value.flatten()[:: max(1, value.numel() // 400_000)]
    low, high = (0.0 if relu else float(value.min())), float(value.max())
    best = (float("inf"), 1.0, 0)
    for share in np.linspace(0.33, 1.0, 45):
        scale = max((high - low) * float(share) / 255, 1e-8)
        zero = min(max(round(-low * float(share) / scale), 0), 255)
        best = min(best, (float(F.mse_loss(coded(sample, scale, zero), sample)), scale, zero))
    return best[1:]


def whole_weights(x: torch.Tensor, layer: nn.Conv2d, scale: torch.Tensor) -> torch.Tensor:
    """Return the layer's weights in units of `scale`, rounded one after the other; what is left of each is made up for by those
    to come, as well as inputs like `x` allow."""
    weight = layer.weight.detach() / scale.view(-1, 1, 1, 1)
    columns = F.unfold(x, layer.kernel_size, padding=layer.padding, stride=layer.stride).transpose(1, 2)
    columns = columns.flatten(0, 1)[:: max(1, columns.shape[0] * columns.shape[1] // 40_000)].double()
    square = columns.T @ columns
    square += torch.eye(len(square), dtype=torch.double) * (0.01 * square.diagonal().mean() + 1e-9)
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(square)), upper=True)
    left, made = weight.flatten(1).double(), torch.zeros(weight.shape[0], inverse.shape[0], dtype=torch.double)
    for i in range(len(inverse)):
        made[:, i] = left[:, i].round().clamp(-WEIGHT, WEIGHT)
        error = (left[:, i] - made[:, i]) / inverse[i, i]
        left[:, i:] -= error[:, None] * inverse[i, i:]
    return made.float().view_as(weight)


class Graph:
    """Writes nodes down while it computes them, in full precision and in bytes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def plain(self, x: Coded) -> str:
        """The float tensor that the bytes of `x` stand for."""
        return self.node(
            "DequantizeLinear", [x.name, f"{x.name}.scale", f"{x.name}.zero"], f"{x.name}.float{len(self.nodes)}"
        )

    def result(
        self,
        name: str,
        source: str,
        value: torch.Tensor,
        seen: torch.Tensor,
        relu: bool = False,
        code: tuple[float, int] | None = None,
    ) -> Coded:
        scale, zero = code or best_range(value.relu() if relu else value, relu)
        self.known(name, scale, zero)
        self.node("QuantizeLinear", [source, f"{name}.scale", f"{name}.zero"], name)
        return Coded(name, value.relu() if relu else value, coded(seen, scale, zero), scale, zero)

    def known(self, name: str, scale: float, zero: int) -> None:
        self.constant(f"{name}.scale", np.array(scale, np.float32))
        self.constant(f"{name}.zero", np.array(zero, np.uint8))

    def conv(self, name: str, x: Coded, layer: nn.Conv2d, *, relu: bool = False, limit: float = float("inf")) -> Coded:
        """`limit`: what lies further from 0 need not be told apart."""
        weight = layer.weight.detach()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach()
        value = F.conv2d(x.value, weight, bias, layer.stride, layer.padding)
        scale = (weight.abs().amax((1, 2, 3)) / WEIGHT).clamp_min(1e-8)
        scale = torch.maximum(scale, bias.abs() / (x.scale * 2.0**29))  # a bias has to fit in 32 bits
        whole = whole_weights(x.seen, layer, scale)
        seen = F.conv2d(x.seen, whole * scale.view(-1, 1, 1, 1), bias, layer.stride, layer.padding)
        drift = (value - seen).mean((0, 2, 3))
        step = scale * x.scale
        whole_bias = ((bias + drift) / step).round()
        seen = seen + (whole_bias * step - bias).view(1, -1, 1, 1)
        inputs = [self.plain(x)]
        for part, values, steps in (
            ("weight", whole.numpy().astype(np.int8), scale),
            ("bias", whole_bias.numpy().astype(np.int32), step),
        ):
            self.constant(f"{name}.{part}", values)
            self.constant(f"{name}.{part}.scale", steps.numpy().astype(np.float32))
            self.constant(f"{name}.{part}.zero", np.zeros(len(steps), values.dtype))
            inputs.append(
                self.node(
                    "DequantizeLinear",
                    [f"{name}.{part}", f"{name}.{part}.scale", f"{name}.{part}.zero"],
                    f"{name}.{part}.float",
                    axis=0,
                )
            )
        pads = [layer.padding[0]] * 4
        made = self.node(
            "Conv", inputs, f"{name}.made", kernel_shape=list(weight.shape[2:]), strides=list(layer.stride), pads=pads
        )
        code = best_range(value.clamp(-limit, limit), relu) if limit < float("inf") else None
        return self.result(name, made, value, seen, relu, code)

    def pair(
        self,
        kind: str,
        name: str,
        a: Coded,
        b: Coded,
        *,
        relu: bool = False,
        code: tuple[float, int] | None = None,
        limit: float = float("inf"),
    ) -> Coded:
        """Add or Mul; `limit` as in `conv`."""
        f = torch.add if kind == "Add" else torch.mul
        made = self.node(kind, [self.plain(a), self.plain(b)], f"{name}.made")
        value = f(a.value, b.value)
        if limit < float("inf"):
            code = best_range(value.clamp(-limit, limit), relu)
        return self.result(name, made, value, f(a.seen, b.seen), relu, code)

    def relu(self, name: str, x: Coded) -> Coded:
        """The same bytes, cut off at the zero point."""
        self.known(name, x.scale, x.zero)
        self.node("Clip", [x.name, f"{name}.zero"], name)
        return Coded(name, x.value.relu(), x.seen.relu(), x.scale, x.zero)

    def sigmoid(self, name: str, x: Coded) -> Coded:
        made = self.node("Sigmoid", [self.plain(x)], f"{name}.made")
        return self.result(name, made, x.value.sigmoid(), x.seen.sigmoid(), code=(1 / 256, 0))

    def joined(self, name: str, a: Coded, b: Coded) -> Coded:
        """The channels of both; their bytes mean the same."""
        self.known(name, a.scale, a.zero)
        self.node("Concat", [a.name, b.name], name, axis=1)
        return Coded(name, torch.cat([a.value, b.value], 1), torch.cat([a.seen, b.seen], 1), a.scale, a.zero)

    def twice(self, name: str, x: Coded, like: Coded) -> Coded:
        """Each pixel four times, to the size of `like`: the map joined with itself, columns, then rows.

        ONNX Runtime's nearest-neighbour `Resize` looks up the source of each byte and takes ten times as long.
        """
        made = self.node("Transpose", [x.name], f"{name}.nhwc", perm=[0, 2, 3, 1])
        made = self.node("Concat", [made] * 2, f"{name}.columns", axis=3)
        made = self.node("Reshape", [made, self.constant("row", np.array([0, 0, 1, -1]))], f"{name}.row")
        made = self.node("Concat", [made] * 2, f"{name}.rows", axis=2)
        shape = self.node("Shape", [like.name], f"{name}.shape")
        shape = self.node("Gather", [shape, self.constant("order", np.array([0, 2, 3, 1]))], f"{name}.nhwc_shape")
        made = self.node("Reshape", [made, shape], f"{name}.twice")
        self.node("Transpose", [made], name, perm=[0, 3, 1, 2])
        self.known(name, x.scale, x.zero)
        return Coded(
            name, F.interpolate(x.value, scale_factor=2), F.interpolate(x.seen, scale_factor=2), x.scale, x.zero
        )


def blocks(x: torch.Tensor) -> torch.Tensor:
    """The net's input → uint8 (N, H/2, W/2, 16) as `_core.purify.blocks` makes it: pixel (dy, dx), then R, G, B, strength."""
    x = (x * torch.tensor([255, 255, 255, 255 * STEPS_PER_LEVEL]).view(1, 4, 1, 1)).round().clamp(0, 255)
    n, _, h, w = x.shape
    return x.view(n, 4, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, h // 2, w // 2, 16).to(torch.uint8)


def on_blocks(net: UNet | Gated) -> None:
    """Rewrite the first and last convolutions for `blocks`: the function stays the same."""
    w = net.stem.weight.detach().clone()
    w[:, 3] /= STEPS_PER_LEVEL
    if w.shape[1] == 7:  # the estimate comes as blocks of its own, with a strength that says nothing
        w = F.pad(w, (0, 0, 0, 0, 0, 1))
    taps = w.shape[-1] // 2
    w = w.view(len(w), -1, 4, taps, 2, taps, 2).permute(0, 1, 4, 6, 2, 3, 5).reshape(len(w), -1, taps, taps)
    stem = nn.Conv2d(w.shape[1], len(w), taps, net.stem.stride[0] // 2, padding=1)
    stem.weight, stem.bias = nn.Parameter(w.contiguous()), net.stem.bias
    net.stem = stem
    # Four bytes a pixel here too, although the fourth says nothing: ONNX Runtime's fast convolution wants output channels by
    # sixteen.
    pixels = net.out.out_channels // 3
    for name in ("out", "more", "wide"):
        if not (old := getattr(net, name, None)):
            continue
        new = nn.Conv2d(old.in_channels, 4 * pixels, 1)
        with torch.no_grad():
            new.weight.zero_(), new.bias.zero_()
            for c in range(3):
                new.weight[c::4] = old.weight[pixels * c : pixels * (c + 1)]
                if old.bias is not None:
                    new.bias[c::4] = old.bias[pixels * c : pixels * (c + 1)]
        setattr(net, name, new)


@torch.no_grad()
def equalise(net: UNet | Gated, x: torch.Tensor) -> None:
    """Scale the stem's bands to one range, and what reads and what is added to them accordingly: the function stays the same.

    Without it white noise of 15 on a band filled a dozen of 256 levels.
    """
    bands = net.stem(x).abs().transpose(0, 1).flatten(1)
    ranges = torch.quantile(bands[:, :: max(1, bands.shape[1] // 200_000)], 0.999, dim=1).clamp_min(1e-6)
    scale = ranges.log().mean().exp() / ranges
    for name in ("stem", "up1"):
        if layer := getattr(net, name, None):
            layer.weight *= scale.view(-1, 1, 1, 1)
            layer.bias *= scale
    for name in ("down1", "dec0", "out"):
        if layer := getattr(net, name, None):
            layer.weight /= scale.view(1, -1, 1, 1)


def unet(g: Graph, net: UNet, x: Coded, code: tuple[float, int]) -> tuple[Coded, Coded]:
    """Write a U-Net (see `on_blocks`) → its residual, and the features that it was decided by."""

    def res(name: str, x: Coded, layer: nn.Module) -> Coded:
        a = g.conv(f"{name}.a", x, layer.a, relu=True)
        return g.pair("Add", name, x, g.conv(f"{name}.b", a, layer.b), relu=True)

    def up(name: str, x: Coded, layer: nn.Conv2d, skip: Coded) -> Coded:
        return g.pair("Add", f"{name}.sum", skip, g.twice(f"{name}.wide", g.conv(name, x, layer), skip), relu=True)

    equalise(net, x.value)
    bands = g.conv("stem", x, net.stem)
    e0 = g.relu("e0", bands)
    e1 = res("enc1", g.conv("down1", e0, net.down1, relu=True), net.enc1)
    m = g.conv("down2", e1, net.down2, relu=True)
    for i, layer in enumerate(net.mid):
        m = res(f"mid{i}", m, layer)
    d1 = g.conv("dec1", up("up2", m, net.up2, e1), net.dec1, relu=True)
    low = up("up1", d1, net.up1, e0)
    d0 = g.conv("dec0", low, net.dec0, relu=True)
    kept = g.pair("Mul", "gated", bands, g.sigmoid("open", g.conv("gate", d0, net.gate, limit=6)))
    return g.pair("Add", "residual", g.conv("out", kept, net.out), g.conv("more", d0, net.more), code=code), d0


def gated(
    g: Graph, prefix: str, net: Gated, x: Coded, code: tuple[float, int] | None, told: Coded | None = None
) -> Coded:
    """Write bands with gates (see `on_blocks`)."""
    equalise(net, x.value)
    bands = g.conv(f"{prefix}stem", x, net.stem)
    d0 = g.conv(f"{prefix}dec0", g.relu(f"{prefix}e0", bands), net.dec0, relu=True)
    gate, more = g.conv(f"{prefix}gate", d0, net.gate, limit=6), g.conv(f"{prefix}more", d0, net.more)
    if told is not None:
        gate = g.pair("Add", f"{prefix}gate.sum", gate, g.conv(f"{prefix}told", told, net.told), limit=6)
        more = g.pair("Add", f"{prefix}more.sum", more, g.conv(f"{prefix}wide", told, net.wide))
    kept = g.pair("Mul", f"{prefix}gated", bands, g.sigmoid(f"{prefix}open", gate))
    return g.pair("Add", f"{prefix}residual", g.conv(f"{prefix}out", kept, net.out), more, code=code)


def counter(g: Graph, net: Counter, x: Coded, r: Coded, told: Coded, code: tuple[float, int]) -> Coded:
    """Write a counter-pattern (see `on_blocks`) behind the residual of an estimate → both residuals together."""
    # As bytes the estimate is clipped, as the network in training sees it. ONNX Runtime has no subtraction of bytes.
    one = nn.Conv2d(16, 16, 1)
    one.weight.data, one.bias.data = -torch.eye(16).view(16, 16, 1, 1), torch.zeros(16)
    y = g.pair("Add", "estimate", x, g.conv("negative", r, one), code=(1 / 255, 0))
    y.value.clamp_(0, 1)
    return g.pair("Add", "sum", r, gated(g, "counter.", net, g.joined("both", x, y), None, told), code=code)


@torch.no_grad()
def write(net: UNet | Purifier | Small, inputs: torch.Tensor) -> onnx.ModelProto:
    """Return the graph of `net` (see `on_blocks`) with ranges from uint8 `inputs`."""
    g = Graph()
    pixels = inputs.permute(0, 3, 1, 2).float() / 255
    g.known("x.nchw", 1 / 255, 0)
    g.node("Transpose", ["x"], "x.nchw", perm=[0, 3, 1, 2])
    x, levels = Coded("x.nchw", pixels, pixels, 1 / 255, 0), (1 / 255, 128)
    if isinstance(net, Purifier):
        r = counter(g, net.counter, x, *unet(g, net.estimate, x, levels), levels)
    else:
        r = unet(g, net, x, levels)[0] if isinstance(net, UNet) else gated(g, "", net, x, levels)
    g.node("Transpose", [r.name], "r", perm=[0, 2, 3, 1])
    graph = helper.make_graph(
        g.nodes,
        "purifier",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", "h", "w", 16])],
        [helper.make_tensor_value_info("r", TensorProto.UINT8, ["n", "rows", "columns", r.value.shape[1]])],
        list(g.constants.values()),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="ondevice_guard training/purifier",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def subtract(x: torch.Tensor, r: np.ndarray) -> torch.Tensor:
    """The net's input and the graph's output → [0, 1] RGB, as `_core.purify.subtract` makes it."""
    n, h, w, c = r.shape
    side = 4 if c == 64 else 2
    r = torch.from_numpy(r.astype(np.float32) - 128).view(n, h, w, side, side, 4).permute(0, 5, 1, 3, 2, 4)
    return (x[:, :3] * 255 - r.reshape(n, 4, side * h, side * w)[:, :3]).round().clamp(0, 255) / 255


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
    net, plain = (fold(load(a.checkpoint)) for _ in range(2))
    for part in (net.estimate, net.counter) if isinstance(net, Purifier) else (net,):
        on_blocks(part)
    name = a.out.name.partition("_v")[0]
    noise = name == "denoiser"
    model = write(net, blocks(crops(a.data, a.cache, 60, a.seed, noise)))
    raw = model.SerializeToString()
    session = ort.InferenceSession(raw, providers=["CPUExecutionProvider"])
    held = crops(a.data, a.cache, 24, a.seed + 1, noise)
    with torch.no_grad():
        wanted = plain(held).clamp(0, 1)
    apart = subtract(held, session.run(None, {"x": blocks(held).numpy()})[0]) - wanted
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "model.onnx").write_bytes(raw)
    manifest = hashlib.sha256("\n".join(f.name for f in photos(a.data, "train")).encode()).hexdigest()
    config = {
        "schema": 1,
        "name": name,
        "version": 1,
        "licence": "Apache-2.0",
        "files": {"model.onnx": {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}},
        "graph": "model.onnx",
        "inputs": {
            "x": {
                "dtype": "uint8",
                "shape": ["n", "h/2", "w/2", 16],
                "layout": "NHWC",
                "made_by": "_core.purify.blocks",
                "multiple": 8,
                "halo": 16 if isinstance(plain, Small) else 48,  # pixels: what a tile has to see of its neighbours
            }
        },
        "labels": [],
        "thresholds": {},
        "trained_on": [
            {
                "source": "650 photographs, `train` part (training/purifier/attacks.py)"
                + ("" if noise else ", EfficientNet-Lite1 and 2"),
                "licence": "ImageNet: non-commercial research",
                "files": len(photos(a.data, "train")),
                "sha256": manifest,
            }
        ],
        "metrics": {
            "parameters": sum(v.numel() for v in plain.parameters()),
            "int8_against_fp32_rms_255": round(float(apart.square().mean().sqrt() * 255), 3),
        },
    }
    (a.out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(json.dumps(config["metrics"]), len(raw))


if __name__ == "__main__":
    main()
