"""Train the text map: a fully convolutional network that says where writing is, and whether it was put on the picture.

    python training/textmap/train.py --minutes 80 --seed 1           # checkpoints to training/textmap/runs/<seed>/
    python training/textmap/train.py --export runs/1/last.pt         # int8 QDQ graph + config to models/textmap_v1

The network sees uint8 H/4 x W/4 x 64 (see `render.features`) and answers at H/8 x W/8 with 14 channels: for each of
the four stride-4 cells (dy*2 + dx) a logit of text, then of overlay, then of line core, and last a vector along the
reading direction. Dense 3x3 convolutions were chosen over depthwise ones by measurement: at 640x640 in ONNX Runtime
int8, one thread, 150-200 GMAC/s against 36; a first layer on 4-channel pixels alone took 4.4 ms, on 64-channel
patches 0.6 ms.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent))
import render

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import assets

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
from ondevice_guard import _core

HERE = Path(__file__).resolve().parent
#: Of the 4,096 cells of a crop, those that a trace of writing is read from. Not tuned.
TRACE = 128
#: Of the samples, those seen enlarged by 4 / 3, as the detector shows small pictures to the map: a window of 48 x 48 cells.
ENLARGED, WINDOW = 0.55, 48


def _conv(a: int, b: int, k: int = 3, s: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, k, s, k // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Residual(nn.Module):
    """relu(x + conv3x3(x))."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


class TextMap(nn.Module):
    """float32 N x H/4 x W/4 x 64 (0..255) → N x H/8 x W/8 x 14."""

    def __init__(self, stem: int = 48, c8: int = 64, c16: int = 64, c32: int = 64) -> None:
        super().__init__()
        self.stem = _conv(64, stem, 1)
        self.s8 = nn.Sequential(_conv(stem, c8, 3, 2), Residual(c8))
        self.s16 = nn.Sequential(_conv(c8, c16, 3, 2), Residual(c16), Residual(c16))
        self.s32 = nn.Sequential(_conv(c16, c32, 3, 2), Residual(c32), Residual(c32))
        self.up32, self.f16 = nn.Conv2d(c32, c16, 1), Residual(c16)
        self.up16, self.f8 = nn.Conv2d(c16, c8, 1), Residual(c8)
        self.out = nn.Conv2d(c8, 14, 1)
        self.folded = False

    def fold(self) -> TextMap:
        """Move the input's normalisation into the first layer (it is 1x1, so that no padding is involved)."""
        conv, norm = self.stem[0], self.stem[1]
        norm.running_mean += conv.weight.detach().sum((1, 2, 3)) * (128 / 48)
        conv.weight.data /= 48
        self.folded = True
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 3, 1, 2)
        x = x if self.folded else (x - 128) / 48
        up = lambda t: F.interpolate(t, scale_factor=2, mode="nearest")  # noqa: E731
        b = self.s8(self.stem(x))
        c = self.s16(b)
        c = self.f16(torch.relu(c + up(self.up32(self.s32(c)))))
        b = self.f8(torch.relu(b + up(self.up16(c))))
        return self.out(b).permute(0, 2, 3, 1)


def unpack(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return text, overlay and core logits (N x H/4 x W/4) and directions (N x H/8 x W/8 x 2)."""
    n, h, w, _ = y.shape
    maps = [y[..., i : i + 4].reshape(n, h, w, 2, 2).permute(0, 1, 3, 2, 4).reshape(n, 2 * h, 2 * w) for i in (0, 4, 8)]
    return maps[0], maps[1], maps[2], y[..., 12:]


def collate(samples: list[dict]) -> dict[str, torch.Tensor]:
    """Stack samples; `x` is the network's input."""
    out = {"x": torch.from_numpy(np.stack([render.features(s["rgb"]) for s in samples]))}
    for k in ("text", "core", "overlay"):
        out[k] = torch.from_numpy(np.stack([s[k] for s in samples])).float() / 255
    for k in ("weight", "angle", "core_known"):
        out[k] = torch.from_numpy(np.stack([s[k] for s in samples]))
    return out


class Replay:
    """Composed samples, each used `uses` times: turned by quarters, inverted, channels swapped (composing costs as much
    as a training step, these cost nothing)."""

    def __init__(self, composer: render.Composer, size: int = 1536, uses: int = 4) -> None:
        self.composer, self.size, self.uses = composer, size, uses
        self.kept: list[dict] = []
        self.rng = np.random.default_rng(composer.rng.integers(1 << 32))

    def draw(self, count: int) -> list[dict]:
        """Return `count` samples; a share 1 / uses of the store is new each time."""
        for _ in range(count if len(self.kept) < 2 * count else max(1, count // self.uses)):
            new = self.composer.sample()
            if len(self.kept) < self.size:
                self.kept.append(new)
            else:
                self.kept[int(self.rng.integers(self.size))] = new
        return [self._vary(self.kept[int(i)]) for i in self.rng.integers(len(self.kept), size=count)]

    def _vary(self, s: dict) -> dict:
        k = int(self.rng.integers(4)) if self.rng.random() < 0.5 else 0
        s = {name: np.rot90(v, k) for name, v in s.items()}
        rgb = s["rgb"]
        if self.rng.random() < 0.3:
            rgb = rgb[..., self.rng.permutation(3)]
        if self.rng.random() < 0.2:
            rgb = 255 - rgb
        s["rgb"] = np.ascontiguousarray(rgb)
        s["angle"] = s["angle"] - k * np.float32(np.pi / 2)  # np.rot90 turns anticlockwise on the screen
        return self._enlarged(s) if self.rng.random() < ENLARGED else s

    def _enlarged(self, s: dict) -> dict:
        """A window of a sample, brought to the size of a sample by the very kernel that inference uses."""
        cells, side = s["text"].shape[0], s["rgb"].shape[0]
        y, x = (int(v) for v in self.rng.integers(cells - WINDOW + 1, size=2))
        rows, columns = slice(y * 4, (y + WINDOW) * 4), slice(x * 4, (x + WINDOW) * 4)
        out = {
            "rgb": _core.views.resize(np.ascontiguousarray(s["rgb"][rows, columns]), side, side, "bicubic", threads=1)
        }
        for name in ("text", "core", "overlay", "weight", "angle", "core_known"):
            window = np.ascontiguousarray(s[name][y : y + WINDOW, x : x + WINDOW])
            smooth = name in ("text", "core", "overlay")
            window = window.view(np.uint8) if window.dtype == bool else window
            out[name] = cv2.resize(
                window, (cells, cells), interpolation=cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
            ).astype(s[name].dtype)
        return out


def _map_loss(logit: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, positive: float) -> torch.Tensor:
    bce = F.binary_cross_entropy_with_logits(logit, target, reduction="none") * weight
    bce = bce * (1 + (positive - 1) * target)
    # the hardest hundredth of the background counts again: what a false alarm is made of
    hard = (bce * (target < 0.1)).flatten()
    top = hard.topk(max(1, hard.numel() // 100)).values.mean()
    p = torch.sigmoid(logit) * weight
    t = target * weight
    dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    return bce.mean() + 0.1 * top + 0.3 * dice


def loss(y: torch.Tensor, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """Return the training loss and its parts."""
    text, overlay, core, direction = unpack(y.float())
    w = batch["weight"]
    lt = _map_loss(text, batch["text"], w, 2.0)
    lo = _map_loss(overlay, batch["overlay"], w, 2.0)
    lc = _map_loss(core, batch["core"], w * batch["core_known"].float(), 2.0)
    a = batch["angle"][:, ::2, ::2]
    known = ~torch.isnan(a) & (w[:, ::2, ::2] > 0)
    target = torch.stack([torch.cos(a), torch.sin(a)], -1)[known] * 4
    ld = F.smooth_l1_loss(direction[known], target) if known.any() else direction.sum() * 0
    # A crop as a whole: is anything laid over it? Read as the guard reads a trace, from the strongest cells.
    cells = overlay.masked_fill(w == 0, -20.0).flatten(1).topk(TRACE, 1).values.mean(1)
    seen = (batch["overlay"] * w).flatten(1).sum(1)
    sure = (seen > 8) | (batch["overlay"].flatten(1).amax(1) == 0)
    trace = F.binary_cross_entropy_with_logits(cells[sure], (seen[sure] > 8).float()) if sure.any() else cells.sum() * 0
    return lt + lo + 0.7 * lc + 0.15 * ld + 0.5 * trace, {
        "trace": trace.item(),
        "text": lt.item(),
        "overlay": lo.item(),
        "core": lc.item(),
        "dir": ld.item(),
    }


def evaluate(net: nn.Module, batches: list[dict[str, torch.Tensor]]) -> dict[str, float]:
    """Pixel F1 at 0.5 of the three maps, and how often the direction is right within 30 degrees."""
    net.eval()
    counts = {k: np.zeros(3) for k in ("text", "overlay", "core")}
    right = total = 0
    with torch.no_grad():
        for b in batches:
            maps = unpack(net(b["x"].float()))
            w = b["weight"] > 0.5
            for k, m in zip(("text", "overlay", "core"), maps[:3], strict=True):
                p, t = (m > 0) & w, (b[k] > 0.5) & w
                counts[k] += [(p & t).sum().item(), p.sum().item(), t.sum().item()]
            a = b["angle"][:, ::2, ::2]
            known = ~torch.isnan(a)
            d = maps[3][known]
            right += (torch.cos(torch.atan2(d[:, 1], d[:, 0]) - a[known]) > 0.866).sum().item()
            total += int(known.sum())
    out = {f"f1_{k}": 2 * c[0] / max(1, c[1] + c[2]) for k, c in counts.items()}
    return {**out, "direction": right / max(1, total)}


def train(args: argparse.Namespace) -> None:
    """Train for a number of minutes, writing a checkpoint every few hundred steps."""
    torch.manual_seed(args.seed)
    data = assets.data_dir(args.data)
    run = HERE / "runs" / str(args.run or args.seed)
    run.mkdir(parents=True, exist_ok=True)
    layers = {
        k: np.concatenate([np.load(p)[k] for p in sorted(render.CACHE.glob("layers_train_[1-9]*.npz"))])
        for k in ("mask", "text", "core", "angle", "hull", "size", "flat")
    }
    composer = render.Composer(*render.load_photos(data, "train"), layers, args.seed)
    held = render.Composer(*render.load_photos(data, "test"), dict(np.load(render.CACHE / "layers_test_0.npz")), 7)
    checks = [collate([held.sample() for _ in range(32)]) for _ in range(2)]
    replay = Replay(composer)
    net = TextMap().to(memory_format=torch.channels_last)
    if args.resume:
        net.load_state_dict(torch.load(args.resume)["net"])
    mean = copy.deepcopy(net)
    decay = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0}], lr=args.lr)
    start, step, busy = time.time(), 0, 0.0
    log = open(run / "log.jsonl", "a")
    while True:
        progress = (time.time() - start) / 60 / args.minutes
        if progress >= 1:
            break
        composer.ease = max(0.0, args.ease - 2.5 * progress)
        rate = (
            args.lr
            * min(1, (step + 1) / (60 if args.resume else 200))
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for g in opt.param_groups:
            g["lr"] = rate
        t = time.time()
        batch = collate(replay.draw(args.batch))
        busy += time.time() - t
        net.train()
        with torch.autocast("cpu", torch.bfloat16):
            y = net(batch["x"].to(torch.bfloat16))  # bytes are exact in bf16
        total, parts = loss(y, batch)
        opt.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        opt.step()
        step += 1
        keep = min(0.998, step / (step + 20))
        with torch.no_grad():
            for a, b in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
                a.lerp_(b, 1 - keep) if a.is_floating_point() else a.copy_(b)
        if step % 250 == 0:
            spent = time.time() - start
            row = {
                "step": step,
                "minutes": spent / 60,
                "images_s": step * args.batch / spent,
                "compose": busy / spent,
                "lr": rate,
                "loss": total.item(),
                **parts,
            }
            if step % 500 == 0:
                row |= evaluate(mean, checks)
            if step % 250 == 0:
                torch.save(
                    {
                        "net": mean.state_dict(),
                        "step": step,
                        "seed": args.seed,
                        "batch": args.batch,
                        "minutes": spent / 60,
                    },
                    run / "last.pt",
                )
            print(
                json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}),
                file=log,
                flush=True,
            )
    torch.save(
        {"net": mean.state_dict(), "step": step, "seed": args.seed, "batch": args.batch, "minutes": args.minutes},
        run / "last.pt",
    )


def main() -> None:
    """Command line."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--data")
    ap.add_argument("--minutes", type=float, default=80)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--batch", type=int, default=12)
    ap.add_argument("--lr", type=float, default=2e-3)
    ap.add_argument("--ease", type=float, default=0.85)
    ap.add_argument("--run")
    ap.add_argument("--resume")
    args = ap.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    train(args)


if __name__ == "__main__":
    main()
