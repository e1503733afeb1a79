"""Train the denoiser, the purifier's estimate, its counter-pattern and both together, one after the other (see net.py).

The denoiser and the estimate, which begins as the denoiser, learn from pixels: white noise, then attacked crops. The
counter-pattern, and then both, are guided as in HGD (Liao et al., arXiv:1712.02976): on the purified crop, most often
turned as the preset `strong` turns it, a training victim's logits and its last feature map of stride 16 are pulled
towards those of the clean crop, and most of all its class: differences that count alike hold the counter-pattern back.
The strength plane is what `strength` reads off the crop itself, as at use: a clean picture tells the net that there is
nothing to remove. Attacked crops come from a pool on disk, which `--make-pool` fills, also while a training runs.
Everything is trained on the `train` part of the photographs and judged on the `choose` part (see attacks.py).

    python training/purifier/train.py --data DIR --cache DIR --out N --noise-share 1 --minutes 90
    python training/purifier/train.py --data DIR --cache DIR --out P --make-pool --minutes 60 --seed 1000
    python training/purifier/train.py --data DIR --cache DIR --out E --init N/ema.pt --minutes 30
    python training/purifier/train.py --data DIR --cache DIR --out C --guide counter --estimate E/ema.pt --minutes 20
    python training/purifier/train.py --data DIR --cache DIR --out B --guide both --init C/ema.pt --lr 6e-4 --minutes 45
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from attacks import Session, Victim, attack, attack_sets, load_rgb, logits_of, photos, to_tensor, to_uint8
from net import Purifier, Small, UNet, amplify, load

CROP = 224
SHARD = 32
BATCH = 16
RADII = (4, 6, 8, 8, 8, 12, 16, 16, 16)
#: Degrees by which `strong` turns what the network made.
TURN = 5.0


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
    """Adversarial crops with their clean twins and what the victims make of the clean ones, on disk and in memory."""

    def __init__(self, folder: Path, victims: dict[str, Victim], limit: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.victims, self.limit = folder, victims, limit
        self.shards: list[dict[str, np.ndarray]] = []
        self.known: set[Path] = set()
        self.refresh()

    def refresh(self) -> None:
        """Load shards that have appeared; the oldest go when the pool is full."""
        for file in sorted(set(self.folder.glob("*.npz")) - self.known):
            with np.load(file) as shard:
                self.shards.append(dict(shard))
            self.known.add(file)
        del self.shards[: -self.limit]

    def make(self, images: list[np.ndarray], seed: int) -> None:
        """Attack one shard of new crops and keep it.

        Seven in ten are made as the reported ones are (10 steps), the rest with 4-8. Of them, 55 in 100 are PGD, 35 MI-FGSM,
        7 "universal" (PGD made for another crop), 3 a patch of three times the radius.
        """
        rng = np.random.default_rng(seed)
        clean = np.stack([random_crop(images[rng.integers(len(images))], rng) for _ in range(SHARD)])
        x, adv, facts = to_tensor(clean), np.empty_like(clean), []
        for i in range(0, SHARD, BATCH):
            name = str(rng.choice(list(self.victims)))
            part = x[i : i + BATCH]
            with torch.no_grad():
                y = self.victims[name](part).argmax(1)
            kind = rng.random()
            momentum = 1.0 if kind < 0.35 else 0.0
            eps = float(rng.choice(RADII))
            steps = 10 if rng.random() < 0.7 else int(rng.integers(4, 9))
            mask = patch_mask(rng, len(part)) if kind > 0.97 else None
            eps = eps * 3 if mask is not None else eps
            z = attack(
                self.victims[name], part, y, eps, steps, None, momentum, not momentum, int(rng.integers(1 << 30)), mask
            )
            if 0.35 <= kind < 0.42:
                z = (part + (z - part).roll(1, 0)).clamp(0, 255)
            adv[i : i + BATCH] = to_uint8(z)
            facts += [[list(self.victims).index(name), eps, steps, momentum]] * len(part)
        shard = {"clean": clean, "adv": adv, "facts": np.array(facts, np.float32)}
        for name, victim in self.victims.items():
            with torch.no_grad():
                for way, seen in (("", x), (" turned", turn(x))):
                    made = [victim.both(seen[i : i + BATCH]) for i in range(0, SHARD, BATCH)]
                    shard[f"{name} middle{way}"] = torch.cat([m for m, _ in made]).half().numpy()
                    shard[f"{name} logits{way}"] = torch.cat([z for _, z in made]).numpy()
        file = self.folder / f"{time.time_ns() // 10**8}-{seed}.npz"
        np.savez(file.with_suffix(".part"), **shard)
        file.with_suffix(".part.npz").rename(file)


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


def strength(x: torch.Tensor) -> torch.Tensor:
    """Return each picture's noise level (N, 1, 1, 1), 1/255 units, as `purify.noise_level` reads it off the pixels.

    Median over 16x16 tiles of the mean diagonal second difference of R-G and B-G, scaled so that independent Gaussian
    noise reads its own standard deviation.
    """
    total = 0
    for c in (0, 2):
        p = x[:, c] - x[:, 1]
        d = (p[:, :-1, :-1] - p[:, :-1, 1:] - p[:, 1:, :-1] + p[:, 1:, 1:]).abs().clamp_max(63)
        total = total + F.avg_pool2d(d[:, None], 16)
    return (total.flatten(1).median(1).values * (0.4431 / 2)).view(-1, 1, 1, 1)


def guided_batch(
    pool: Pool, rng: np.random.Generator, n: int, victim: str, way: str = ""
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pool crops as a file might carry them → (input with its strength, clean, feature map, logits of the clean ones).

    `way`: `" turned"` for feature maps and logits of the clean ones turned.

    Of 16: 11 attacked, 1 weakened, 1 with noise on top, 1 through JPEG, 1 clean with noise, 1 clean. The strength is what
    `strength` reads, give or take a tenth.
    """
    xs, picked = [], []
    for _ in range(n):
        s, i = pool.shards[rng.integers(len(pool.shards))], rng.integers(SHARD)
        picked.append((s, i))
        clean, adv = (s[k][i].astype(np.float32) for k in ("clean", "adv"))
        x, kind = adv, rng.integers(16)
        if kind == 0:
            x = clean
        elif kind == 1:
            x = clean + rng.standard_normal(clean.shape, np.float32) * rng.uniform(2, 20)
        elif kind == 2:
            x = clean + (adv - clean) * rng.uniform(0.5, 1.0)
        elif kind == 3:
            x = adv + rng.standard_normal(clean.shape, np.float32) * rng.uniform(1, 8)
        x = np.clip(np.rint(x), 0, 255).astype(np.uint8)
        if kind == 4:
            x = cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 96))])[1], -1)
        xs.append(x)
    x = to_tensor(np.stack(xs))
    sigma = strength(x) * torch.from_numpy(rng.uniform(0.9, 1.1, (n, 1, 1, 1)).astype(np.float32))
    clean, middle, logits = (
        np.stack([s[k][i] for s, i in picked]) for k in ("clean", f"{victim} middle{way}", f"{victim} logits{way}")
    )
    return with_map(x, sigma), to_tensor(clean), torch.from_numpy(middle).float(), torch.from_numpy(logits)


def with_map(x: torch.Tensor, sigma: torch.Tensor | float) -> torch.Tensor:
    """[0, 255] RGB and strength(s) in the same unit → the net's input, channels last."""
    plane = torch.as_tensor(sigma, dtype=torch.float32).expand(x.shape[0], 1, *x.shape[2:])
    return (torch.cat([x, plane], 1) / 255).contiguous(memory_format=torch.channels_last)


def turn(x: torch.Tensor, degrees: float = TURN) -> torch.Tensor:
    """Turn pictures about their centre as `_core.purify.rotate` does, but bilinear; borders mirrored."""
    angle = np.deg2rad(degrees)
    matrix = torch.tensor([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]], dtype=torch.float32)
    grid = F.affine_grid(matrix.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, "bilinear", "reflection", align_corners=False)


def view(number: int) -> tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]:
    """Return one of the eight ways to mirror and transpose pictures (0: none), and its inverse.

    A mirrored attack is an attack on a mirrored victim, which is another network. Mirrored about a pixel, not an edge, for the
    victims' strided convolutions sample pixels 2^k i + 2^k - 1; the odd row or column out goes around.
    """
    mirrored = [axis for axis in (-1, -2) if number & -axis]

    def there(x: torch.Tensor) -> torch.Tensor:
        for axis in mirrored:
            x = x.flip(axis).roll(-1, axis)
        return x.transpose(-1, -2) if number & 4 else x

    def back(x: torch.Tensor) -> torch.Tensor:
        x = x.transpose(-1, -2) if number & 4 else x
        for axis in mirrored:
            x = x.flip(axis).roll(-1, axis)
        return x

    return there, back


@torch.no_grad()
def purify(
    net: UNet | Purifier, images: np.ndarray, sigma: float | None = None, degrees: float = 0, batch: int = 12
) -> np.ndarray:
    """uint8 NHWC → uint8 NHWC, at a strength or at what `strength` reads, turned in the end."""
    out = []
    for i in range(0, len(images), batch):
        x = to_tensor(images[i : i + batch])
        with torch.autocast("cpu", torch.bfloat16):
            made = net(with_map(x, strength(x) if sigma is None else sigma)).float()
        out.append(to_uint8((turn(made, degrees) if degrees else made) * 255))
    return np.concatenate(out)


def judge(net: UNet | Purifier, sets: dict[str, np.ndarray], model: Session, n: int) -> dict[str, float]:
    """Return top-1 of `n` photographs of `sets` behind the net and a turn, and the mean cross-entropy of the attacked ones."""
    row, y = {}, sets["labels"][:n]
    for key in ("clean", "pgd8", "pgd16", "mi16"):
        z = torch.from_numpy(logits_of(model, purify(net, sets[key][:n], degrees=TURN), 12))
        row[key] = float((z.argmax(1).numpy() == y).mean())
        row[f"{key} loss"] = float(F.cross_entropy(z, torch.from_numpy(y)))
    for kind in ("", " loss"):
        row[f"recovery{kind}"] = float(
            np.mean([row.pop(f"{k}{kind}") if kind else row[k] for k in ("pgd8", "pgd16", "mi16")])
        )
    return {k: round(v, 4) for k, v in row.items()}


def psnr(net: UNet | Purifier, held: np.ndarray) -> dict[int, float]:
    """Return sigma → mean PSNR over crops with noise as uint8."""
    out = {}
    for sigma in (15, 25, 50):
        noise = np.random.default_rng(sigma).standard_normal(held.shape, np.float32) * sigma
        error = (
            purify(net, np.clip(np.rint(held + noise), 0, 255).astype(np.uint8), sigma).astype(np.float32) - held
        ) ** 2
        out[sigma] = round(float(np.mean(10 * np.log10(255**2 / error.mean((1, 2, 3))))), 2)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=60)
    p.add_argument(
        "--steps", type=int, default=10**9, help="stop (and reach the end of the schedule) here at the latest"
    )
    p.add_argument(
        "--make-pool", action="store_true", help="make shards of the pool for so many minutes, train nothing"
    )
    p.add_argument(
        "--guide",
        choices=("nothing", "counter", "both"),
        default="nothing",
        help="what learns from classifiers: nothing (a U-Net learns from pixels), a counter-pattern, or the estimate too",
    )
    p.add_argument("--estimate", type=Path, help="U-Net to make the guided network of")
    p.add_argument("--small", action="store_true", help="train the network of `balanced`")
    p.add_argument("--teacher", type=Path, help="learn what this network answers, in place of the clean crops' pixels")
    p.add_argument("--init", type=Path, help="weights to begin with")
    p.add_argument("--lr", type=float, default=1.5e-3)
    p.add_argument("--decay", type=float, default=0.6, help="last part of the run, in which the rate falls to nothing")
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--noise-share", type=float, default=0.0, help="share of the steps that are plain denoising")
    p.add_argument("--turned-share", type=float, default=0.8, help="share of guidance behind the turn")
    p.add_argument(
        "--views",
        type=float,
        default=0.0,
        help="share of the steps in which the network, not what judges it, sees the picture mirrored or transposed",
    )
    p.add_argument(
        "--gain", type=float, default=1.0, help="factor on the counter-pattern (with --small: on all) of --init"
    )
    p.add_argument("--pixel", type=float, default=0.05, help="weight of the pixel loss in guided steps")
    p.add_argument("--middle", type=float, default=0.3, help="weight of the feature map in guided steps")
    p.add_argument("--logits", type=float, default=0.1, help="weight of the logits' difference; their divergence has 1")
    p.add_argument("--label", type=float, default=0.5, help="weight of the class of the clean crop in guided steps")
    p.add_argument("--shards", type=int, default=400, help="the most shards of 32 crops in the pool")
    p.add_argument("--judge", type=int, default=36, help="photographs of the `choose` part to judge with")
    p.add_argument("--judge-every", type=float, default=6, help="minutes")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    a.out.mkdir(parents=True, exist_ok=True)
    images = [load_rgb(f) for f in photos(a.data, "train")]
    victims = {n: Victim(n, torch.bfloat16) for n in ("lite1", "lite2")}
    pool = Pool(a.cache / "pool", victims, a.shards)
    start = time.time()
    if a.make_pool:
        seed = a.seed
        while time.time() - start < a.minutes * 60:
            pool.make(images, seed)
            seed += 1
        return
    held = np.stack([random_crop(load_rgb(f), np.random.default_rng(7), 160) for f in photos(a.data, "choose")[:12]])
    sets, judging = attack_sets(a.data, a.cache, "choose", "lite1", "lite2"), Session("lite1", a.cache)
    net = Small() if a.small else UNet() if a.guide == "nothing" else Purifier()
    teacher = load(a.teacher).to(memory_format=torch.channels_last) if a.teacher else None
    if a.init:
        net.load_state_dict(torch.load(a.init))
    if a.estimate:
        net.estimate = load(a.estimate)
    if a.gain != 1:
        amplify(net if a.small else net.counter, a.gain)
    if a.guide == "counter":
        net.estimate.requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    ema = {k: v.clone() for k, v in net.state_dict().items()}
    net.train()
    opt = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=a.lr, weight_decay=1e-4)
    log = (a.out / "log.jsonl").open("a")

    def note(**facts: object) -> None:
        log.write(json.dumps(facts) + "\n")
        log.flush()

    def report(n: int) -> None:
        """Save and judge the averaged weights."""
        live = {k: v.clone() for k, v in net.state_dict().items()}
        net.eval().load_state_dict(ema)
        torch.save(ema, a.out / "ema.pt.new")
        (a.out / "ema.pt.new").replace(a.out / "ema.pt")
        note(
            step=step,
            minutes=round((time.time() - start) / 60, 2),
            psnr=psnr(net, held),
            **judge(net, sets, judging, n),
        )
        net.train().load_state_dict(live)

    note(config={k: str(v) for k, v in vars(a).items()}, shards=len(pool.shards))
    start, step, last, losses = time.time(), 0, time.time(), {}
    while (used := time.time() - start) < a.minutes * 60 and step < a.steps:
        progress = min(max(used / (a.minutes * 60), step / a.steps), 1.0)
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1.0, (step + 1) / 100, (1 - progress) / a.decay + 1e-3)
        name, turned = str(rng.choice(list(victims))), rng.random() < a.turned_share
        there, back = view(int(rng.integers(1, 8)) if rng.random() < a.views else 0)
        noisy = rng.random() < a.noise_share
        if noisy:
            x, y = noisy_batch(images, rng, 12, 96)
        else:
            x, y, middle, target = guided_batch(pool, rng, a.batch, name, " turned" if turned else "")
        with torch.autocast("cpu", torch.bfloat16):
            out = back(net(there(x).contiguous(memory_format=torch.channels_last)))
            if teacher is not None:
                with torch.no_grad():
                    y = teacher(x).float() * 255
        out, y = out.float(), y / 255
        if noisy:
            loss = (out - y).abs().mean() * 20
            terms = {"noise": loss}
        elif a.guide == "nothing":
            loss = (out - y).square().mean() * 400
            terms = {"square": loss}
        else:
            seen = out.clamp(0, 1) * 255
            m, z = victims[name].both(turn(seen) if turned else seen)
            terms = {
                "pixel": (out - y).abs().mean() * 20,
                "middle": (m.float() - middle).abs().mean() / middle.abs().mean(),
                "logits": (z - target).abs().mean(),
                "kl": F.kl_div(F.log_softmax(z, 1), F.log_softmax(target, 1), reduction="batchmean", log_target=True),
                "label": F.cross_entropy(z, target.argmax(1)),
            }
            loss = terms["kl"] + sum(terms[k] * getattr(a, k) for k in ("pixel", "middle", "logits", "label"))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
        opt.step()
        step += 1
        for k, v in terms.items():
            losses.setdefault(k, []).append(v.item())
        decay = min(0.998, step / (step + 20))
        for k, v in net.state_dict().items():
            ema[k].lerp_(v, 1 - decay) if v.is_floating_point() else ema[k].copy_(v)
        if step % 100 == 0:
            pool.refresh()
            note(
                step=step,
                minutes=round(used / 60, 2),
                shards=len(pool.shards),
                **{k: round(float(np.mean(v)), 4) for k, v in losses.items()},
            )
            losses = {}
        if time.time() - last > a.judge_every * 60:
            report(a.judge)
            last = time.time()
    report(10**6)


if __name__ == "__main__":
    main()
