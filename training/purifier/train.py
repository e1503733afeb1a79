"""Train the purifier: Gaussian denoising at every level, then adversarial crops with logit guidance.

Guidance is HGD's (Liao et al., arXiv:1712.02976): the training victims' logits on the purified crop are pulled
towards their logits on the clean crop. Adversarial crops come from a pool that the same process keeps making and
that is kept on disk. Everything is trained on the `train` part of the photographs and judged on the `choose` part
(see attacks.py).

    nice -n 15 python training/purifier/train.py --data DIR --cache DIR --out DIR --minutes 70
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from attacks import Victim, attack, load_rgb, photos, to_tensor, to_uint8
from net import Purifier

CROP = 192
SHARD = 32
RADII = (3, 4, 6, 8, 8, 12, 16, 16)


def random_crop(image: np.ndarray, rng: np.random.Generator, size: int = CROP, least: float = 0.35) -> np.ndarray:
    """Random-resized square crop (`least`-100 % of the largest square), mirrored half of the time."""
    h, w = image.shape[:2]
    side = int(min(h, w) * np.sqrt(rng.uniform(least, 1.0)))
    y, x = rng.integers(0, h - side + 1), rng.integers(0, w - side + 1)
    crop = image[y : y + side, x : x + side]
    crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC)
    return np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def patch_mask(rng: np.random.Generator, n: int) -> torch.Tensor:
    """One rectangle of 4-25 % of the area per image."""
    mask = torch.zeros(n, 1, CROP, CROP)
    for i in range(n):
        h, w = (int(CROP * rng.uniform(0.2, 0.5)) for _ in range(2))
        y, x = rng.integers(0, CROP - h), rng.integers(0, CROP - w)
        mask[i, :, y : y + h, x : x + w] = 1
    return mask


class Pool:
    """Adversarial crops with their clean twins, in shards on disk and in memory."""

    def __init__(self, folder: Path, victims: dict[str, Victim], images: list[np.ndarray], limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.victims, self.images, self.limit = folder, victims, images, limit
        self.tag = "-".join(victims)
        self.shards = [{k: np.load(f)[k] for k in ("clean", "adv")} for f in sorted(folder.glob(f"{self.tag}-*.npz"))]

    def make(self, rng: np.random.Generator) -> None:
        """Add one shard; the oldest goes when the pool is full."""
        clean = np.stack([random_crop(self.images[rng.integers(len(self.images))], rng) for _ in range(SHARD)])
        x, adv, source, radius = to_tensor(clean), np.empty_like(clean), [], []
        for i in range(0, SHARD, 8):
            name = str(rng.choice(list(self.victims)))
            with torch.no_grad():
                y = self.victims[name](x[i : i + 8]).argmax(1)
            eps, steps, kind = float(rng.choice(RADII)), int(rng.integers(3, 7)), rng.random()
            mask = patch_mask(rng, 8) if kind > 0.9 else None
            eps = eps * 3 if mask is not None else eps
            momentum = 1.0 if kind < 0.3 else 0.0
            z = attack(
                self.victims[name],
                x[i : i + 8],
                y,
                eps,
                steps,
                None,
                momentum,
                not momentum,
                int(rng.integers(1 << 30)),
                mask,
            )
            if 0.3 <= kind < 0.37:  # universal-like: every crop wears another crop's perturbation
                z = (x[i : i + 8] + (z - x[i : i + 8]).roll(1, 0)).clamp(0, 255)
            adv[i : i + 8] = to_uint8(z)
            source += [name] * 8
            radius += [eps] * 8
        np.savez(
            self.folder / f"{self.tag}-{int(time.time() * 10)}.npz", clean=clean, adv=adv, source=source, radius=radius
        )
        self.shards.append({"clean": clean, "adv": adv})
        if len(self.shards) > self.limit:
            self.shards.pop(0)


def noisy_batch(
    images: list[np.ndarray], rng: np.random.Generator, n: int, size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian noise of 0-55/255, rounded and clipped as a uint8 file is half of the time → (input with map, clean)."""
    clean = to_tensor(np.stack([random_crop(images[rng.integers(len(images))], rng, size, 0.08) for _ in range(n)]))
    sigma = torch.from_numpy(rng.uniform(0, 55, (n, 1, 1, 1)).astype(np.float32))
    x = clean + sigma * torch.from_numpy(rng.standard_normal(clean.shape, np.float32))
    half = n // 2
    x[:half] = x[:half].round().clamp(0, 255)
    return with_map(x, sigma), clean


def adversarial_batch(pool: Pool, rng: np.random.Generator, n: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows of pool crops: adversarial, adversarial plus noise, clean → (input with a random map, clean)."""
    xs, ys = [], []
    for _ in range(n):
        s, i = pool.shards[rng.integers(len(pool.shards))], rng.integers(SHARD)
        top, left = rng.integers(0, CROP - size + 1, 2)
        window = (slice(top, top + size), slice(left, left + size), slice(None, None, 1 if rng.random() < 0.7 else -1))
        clean, adv = s["clean"][i][window], s["adv"][i][window]
        kind = rng.random()
        x = clean if kind < 0.2 else adv
        if kind > 0.7:
            x = np.clip(np.rint(x + rng.standard_normal(x.shape, np.float32) * rng.uniform(2, 20)), 0, 255).astype(
                np.uint8
            )
        xs.append(x)
        ys.append(clean)
    sigma = torch.from_numpy(rng.uniform(5, 40, (n, 1, 1, 1)).astype(np.float32))
    return with_map(to_tensor(np.stack(xs)), sigma), to_tensor(np.stack(ys))


def with_map(x: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """[0, 255] RGB and strength(s) in the same unit → the net's input, channels last."""
    plane = torch.as_tensor(sigma, dtype=torch.float32).expand(x.shape[0], 1, *x.shape[2:])
    return (torch.cat([x, plane], 1) / 255).contiguous(memory_format=torch.channels_last)


LUMA = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
CHROMA = "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66" + " 99" * 38


class Quantiser(torch.nn.Module):
    """The DCT quantise kernel (4:2:0) as a layer; rounding passes the gradient straight through.

    The net is followed by this kernel in the presets, so most guidance is given behind it.
    """

    def __init__(self, quality: int) -> None:
        super().__init__()
        scale = 5000 / quality if quality < 50 else 200 - 2 * quality
        k = np.arange(8)
        basis = np.cos((2 * k[None] + 1) * k[:, None] * np.pi / 16) * np.where(k[:, None] == 0, np.sqrt(1 / 8), 0.5)
        ycc = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        self.register_buffer("basis", torch.tensor(basis, dtype=torch.float32))
        self.register_buffer("ycc", torch.tensor(ycc, dtype=torch.float32))
        self.register_buffer("rgb", torch.linalg.inv(self.ycc))
        for name, values in (("luma", LUMA), ("chroma", CHROMA)):
            table = np.clip(np.floor((np.array(values.split(), np.float64).reshape(8, 8) * scale + 50) / 100), 1, 255)
            self.register_buffer(name, torch.tensor(table, dtype=torch.float32))

    def blocks(self, p: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        n, c, h, w = p.shape
        b = p.reshape(n, c, h // 8, 8, w // 8, 8).transpose(3, 4)
        d = (self.basis @ b @ self.basis.T) / table
        d = d + (d.round() - d).detach()
        return (self.basis.T @ (d * table) @ self.basis).transpose(3, 4).reshape(n, c, h, w)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[0, 255] in and out; height and width multiples of 16."""
        y = torch.einsum("ij,njhw->nihw", self.ycc, x)
        luma = self.blocks(y[:, :1] - 128, self.luma) + 128
        chroma = F.interpolate(self.blocks(F.avg_pool2d(y[:, 1:], 2), self.chroma), scale_factor=2, mode="bilinear")
        return torch.einsum("ij,njhw->nihw", self.rgb, torch.cat([luma, chroma], 1)).clamp(0, 255)


@torch.no_grad()
def purify(net: Purifier, images: np.ndarray, sigma: float) -> np.ndarray:
    """uint8 NHWC → uint8 NHWC."""
    with torch.autocast("cpu", torch.bfloat16):
        out = net(with_map(to_tensor(images), sigma))
    return to_uint8(out.float() * 255)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=70)
    p.add_argument("--init", type=Path)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument(
        "--guided-share", type=float, default=0.35, help="share of guided adversarial steps, after --guided-from"
    )
    p.add_argument(
        "--guided-from", type=float, default=0.15, help="part of the run before which all steps are denoising"
    )
    p.add_argument("--pool-share", type=float, default=0.12)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    images = [load_rgb(f) for f in photos(a.data, "train")]
    victims = {n: Victim(n, torch.bfloat16) for n in ("lite1", "lite2")}
    pool = Pool(a.cache / "pool", victims, images, 200)
    held = np.stack([random_crop(load_rgb(f), np.random.default_rng(7), 160) for f in photos(a.data, "choose")[:12]])
    quantiser = Quantiser(25)
    net = Purifier()
    if a.init:
        net.load_state_dict(torch.load(a.init))
    net.to(memory_format=torch.channels_last)
    ema = {k: v.clone() for k, v in net.state_dict().items()}
    opt = torch.optim.AdamW(net.parameters(), lr=a.lr, weight_decay=1e-4)
    log = (a.out / "log.jsonl").open("a")

    def note(**facts) -> None:
        log.write(json.dumps(facts) + "\n")
        log.flush()

    note(config={k: str(v) for k, v in vars(a).items()})
    start, pool_time, step, losses = time.time(), 0.0, 0, {"noise": [], "adv": [], "guided": []}
    while (used := time.time() - start) < a.minutes * 60:
        if len(pool.shards) < 2 or pool_time < a.pool_share * used - 60:
            t = time.time()
            pool.make(rng)
            pool_time += time.time() - t
        progress = used / (a.minutes * 60)
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1.0, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * min(progress, 1.0))) + 1e-6
        draw = rng.random() if progress > a.guided_from else 1.0
        kind = "guided" if draw < a.guided_share else "adv" if draw < a.guided_share + 0.15 else "noise"
        x, y = noisy_batch(images, rng, 12, 96) if kind == "noise" else adversarial_batch(pool, rng, 6, 128)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)
        out = out.float()
        pixel = (out - y / 255).abs().mean() * 20
        loss = pixel
        if kind == "guided":
            model = victims[str(rng.choice(list(victims)))]
            with torch.no_grad():
                target = model(y)
            seen = out.clamp(0, 1) * 255
            z = model(quantiser(seen) if rng.random() < 0.75 else seen)
            guided = (z - target).abs().mean()
            loss = (
                pixel
                + guided
                + F.kl_div(F.log_softmax(z, 1), F.log_softmax(target, 1), reduction="batchmean", log_target=True)
            )
            losses["guided"].append(guided.item())
        losses["noise" if kind == "noise" else "adv"].append(pixel.item())
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()
        step += 1
        decay = min(0.998, step / (step + 20))
        for k, v in net.state_dict().items():
            ema[k].lerp_(v, 1 - decay)
        if step % 200 == 0:
            live = {k: v.clone() for k, v in net.state_dict().items()}
            net.load_state_dict(ema)
            psnr = {}
            for sigma in (15, 25, 50):
                noise = np.random.default_rng(sigma).standard_normal(held.shape, np.float32) * sigma
                x8 = np.clip(np.rint(held + noise), 0, 255).astype(np.uint8)
                error = (purify(net, x8, sigma).astype(np.float32) - held) ** 2
                psnr[sigma] = float(np.mean(10 * np.log10(255**2 / error.mean((1, 2, 3)))))
            net.load_state_dict(live)
            torch.save(ema, a.out / "ema.pt.new")
            (a.out / "ema.pt.new").replace(a.out / "ema.pt")
            note(
                step=step,
                minutes=used / 60,
                shards=len(pool.shards),
                psnr=psnr,
                **{k: float(np.mean(v)) for k, v in losses.items() if v},
            )
            losses = {k: [] for k in losses}
    torch.save(ema, a.out / "ema.pt")
    note(step=step, done=True)


if __name__ == "__main__":
    main()
