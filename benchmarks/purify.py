"""Purification presets beside the filters of other packages: recovery, clean accuracy, adaptive attacks, time.

    PYTHONPATH=python python benchmarks/purify.py --data DIR --cache DIR --out benchmarks/results/purify.json

Victim EfficientNet-Lite0 (PGD-8 and PGD-16, white box) with MI-FGSM-16 transferred from Lite1, on photographs that
nothing was trained or chosen on; only photographs that the victim gets right, so no filter and no attack is 1.00.
All filters see the same pictures in one run, each picture going through every filter before the next one comes
(`--timing`: times only). Adaptive: PGD-8 through the filter with the identity as its derivative (BPDA, Athalye et
al. 2018; turned back after a preset that turns), for `randomized` also with the gradient averaged over four seeds
(EOT). `sigma6`: clean photographs with white noise, which presets take for perturbed; "full strength": presets that do
not look at the noise level. `--gated`: the pictures go through `Guard` with the perturbation detector alone, which
purifies those it finds. Needs the packages that training needs; bm3d and NLM see fewer pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "training" / "purifier"))
from attacks import Session, Victim, attack_sets, logits_of, to_tensor, to_uint8

from ondevice_guard import Guard, Policy, _core
from ondevice_guard.purification import PRESET_NAMES, PRESETS, purify

KEYS = ("clean", "sigma6", "pgd8", "pgd16", "mi16")
Filter = Callable[[np.ndarray, int], np.ndarray]


def filters(threads: int = 1) -> dict[str, tuple[Filter, int]]:
    """Return name → (f(image, seed), the most pictures it is given)."""

    def pillow_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
        import io

        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return np.asarray(Image.open(buffer))

    def opencv_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)

    def tv(image: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_tv_chambolle

        return np.clip(np.rint(denoise_tv_chambolle(image, 0.1, channel_axis=-1) * 255), 0, 255).astype(np.uint8)

    def bm3d_profile(image: np.ndarray) -> np.ndarray:
        import bm3d

        return np.clip(np.rint(bm3d.bm3d_rgb(image / 255.0, 10 / 255) * 255), 0, 255).astype(np.uint8)

    def art_squeeze(image: np.ndarray) -> np.ndarray:
        from art.defences.preprocessor import FeatureSqueezing

        return np.rint(
            FeatureSqueezing(clip_values=(0, 255), bit_depth=4)(image[None].astype(np.float32))[0][0]
        ).astype(np.uint8)

    def pixmask(image: np.ndarray, preset: str) -> np.ndarray:
        import warnings

        from pixmask import sanitize

        # It destroys pictures whose rows are not a multiple of 64 bytes; these are continued by their edges, then cut.
        more = -image.shape[1] % 64
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            out = sanitize(np.pad(image, ((0, 0), (0, more), (0, 0)), "edge"), preset=preset)
        return np.ascontiguousarray(np.asarray(out)[:, : image.shape[1]])

    every = 10**6
    table: dict[str, tuple[Filter, int]] = {"none": (lambda x, _: x, every)}
    table |= {f"ours {p}": (lambda x, seed, p=p: purify(x, p, seed=seed, threads=threads), every) for p in PRESET_NAMES}
    table |= {
        f"ours {p}, full strength": (lambda x, _, p=p: purify(x, p, strength="full", threads=threads), every)
        for p in PRESETS
    }
    table |= {
        "pillow jpeg q50": (lambda x, _: pillow_jpeg(x, 50), every),
        "pillow jpeg q25": (lambda x, _: pillow_jpeg(x, 25), every),
        "opencv median 5": (lambda x, _: cv2.medianBlur(x, 5), every),
        "opencv bilateral 75 + jpeg q50": (lambda x, _: opencv_jpeg(cv2.bilateralFilter(x, 9, 75, 75), 50), every),
        "opencv nlm 10": (lambda x, _: cv2.fastNlMeansDenoisingColored(x, None, 10, 10), 60),
        "scikit-image tv .1": (lambda x, _: tv(x), every),
        "art feature squeezing 4 bit": (lambda x, _: art_squeeze(x), 60),
        "pixmask balanced": (lambda x, _: pixmask(x, "balanced"), every),
        "pixmask paranoid": (lambda x, _: pixmask(x, "paranoid"), every),
        "bm3d sigma 10": (lambda x, _: bm3d_profile(x), 12),
    }
    return table


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Mean SSIM of luma, Gaussian window 1.5 (Wang et al. 2004)."""
    x, y = (cv2.cvtColor(v, cv2.COLOR_RGB2GRAY).astype(np.float64) for v in (a, b))
    mean = lambda v: cv2.GaussianBlur(v, (11, 11), 1.5)  # noqa: E731
    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean())


class Straight(torch.autograd.Function):
    """The filter forward, the identity backward, turned back by as many degrees as the filter turns."""

    @staticmethod
    def forward(ctx, x, function, seed, degrees):
        images = to_uint8(x)
        ctx.degrees = degrees
        return to_tensor(np.stack([function(image, seed) for image in images]))

    @staticmethod
    def backward(ctx, g):
        if ctx.degrees:
            side = g.shape[-1]
            turn = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -ctx.degrees, 1)
            planes = g.numpy().reshape(-1, side, side)
            g = torch.from_numpy(np.stack([cv2.warpAffine(p, turn, (side, side)) for p in planes])).view_as(g)
        return g, None, None, None


def adaptive(
    function: Filter, sets: dict[str, np.ndarray], n: int, draws: int, degrees: float = 0, steps: int = 10
) -> float:
    """Return top-1 after PGD-8 through the filter; the last filtering uses a seed that the attack never drew."""
    model = Victim("lite0", torch.bfloat16)
    hits = []
    for i in range(0, n, 8):
        x, y = to_tensor(sets["clean"][i : i + 8][: n - i]), torch.from_numpy(sets["labels"][i : i + 8][: n - i])
        delta = (torch.rand(x.shape, generator=torch.Generator().manual_seed(i)) * 2 - 1) * 8
        for step in range(steps):
            z = (x + delta).clamp(0, 255).requires_grad_(True)
            loss = sum(
                F.cross_entropy(model(Straight.apply(z, function, 1 + step * draws + d, degrees)), y, reduction="sum")
                for d in range(draws)
            )
            (grad,) = torch.autograd.grad(loss, z)
            delta = (delta + 2 * grad.sign()).clamp(-8, 8)
        out = np.stack([function(v, 10**6) for v in to_uint8(x + delta)])
        hits.append(logits_of(model, out, 8).argmax(1) == y.numpy())
    return float(np.concatenate(hits).mean())


def turn_of(preset: str) -> float:
    """Return by how many degrees a preset turns the picture."""
    steps = PRESETS[preset].noisy if preset in PRESETS else ()
    return sum(parameters["degrees"] for name, parameters in steps if name == "rotate")


def gated(sets: dict[str, np.ndarray], model: Session, preset: str) -> dict[str, float]:
    """Return accuracy and share of untouched pictures behind `Guard` with the perturbation detector."""
    guard = Guard(Policy(detectors=("adversarial",), purify=preset), threads=1)
    row: dict[str, float] = {}
    for key in KEYS:
        out = [guard.check(image).to_numpy() for image in sets[key]]
        same = [np.array_equal(a, b) for a, b in zip(out, sets[key], strict=True)]
        row[key] = round(float((logits_of(model, np.stack(out), 4).argmax(1) == sets["labels"]).mean()), 4)
        row[f"{key} untouched"] = round(float(np.mean(same)), 4)
    row["recovery"] = round((row["pgd8"] + row["pgd16"] + row["mi16"]) / 3, 4)
    return row


def timing(table: dict[str, tuple[Filter, int]], image: np.ndarray, seconds: float) -> dict[str, dict[str, float]]:
    """Return name → side → median ms, filters interleaved, as many rounds as fit."""
    out: dict[str, dict[str, float]] = {}
    for side, height in ((224, 224), (512, 512), (1024, 1024), (1920, 1080)):
        picture = cv2.resize(image, (side, height), interpolation=cv2.INTER_CUBIC)
        runs: dict[str, list[float]] = {}
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            for name, (function, most) in table.items():
                if most < 60 and side > 224:
                    continue
                t = time.perf_counter()
                function(picture, 0)
                runs.setdefault(name, []).append((time.perf_counter() - t) * 1e3)
        for name, values in runs.items():
            out.setdefault(name, {})[f"{side}x{height}"] = round(float(np.median(values)), 3)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--cache", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--photos", type=int, default=10**6)
    p.add_argument("--adaptive", type=int, default=40, help="photographs of the adaptive attacks")
    p.add_argument("--only", nargs="*", help="filters to run; default all")
    p.add_argument("--no-recovery", dest="recovery", action="store_false", help="adaptive attacks alone")
    p.add_argument("--gated", action="store_true", help="measure presets behind Guard instead, and merge into --out")
    p.add_argument("--threads", type=int, default=1, help="of our presets, with --timing")
    p.add_argument("--timing", action="store_true", help="measure times instead, and merge them into --out")
    p.add_argument("--seconds", type=float, default=15, help="of timing, per size")
    a = p.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sets = attack_sets(a.data, a.cache, "report", "lite0", "lite1")
    noise = np.random.default_rng(6).standard_normal(sets["clean"].shape, np.float32) * 6
    sets["sigma6"] = np.clip(np.rint(sets["clean"] + noise), 0, 255).astype(np.uint8)
    table = {k: v for k, v in filters(a.threads).items() if not a.only or k in a.only}
    report = json.loads(a.out.read_text()) if a.out.exists() else {}
    report["machine"] = {
        "backend": _core.backend.active(),
        "threads": 1,
        "opencv": cv2.__version__,
        "torch": torch.__version__,
    }
    if a.timing:
        kind = "ms" if a.threads == 1 else f"ms with {a.threads} threads"
        report[kind] = report.get(kind, {}) | timing(table, sets["pgd8"][0], a.seconds)
        a.out.write_text(json.dumps(report, indent=1) + "\n")
        return
    model = Session("lite0", a.cache)
    if a.gated:
        report["behind Guard"] = {p: gated(sets, model, p) for p in ("balanced", "strong")}
        print(json.dumps(report["behind Guard"], indent=1))
        a.out.write_text(json.dumps(report, indent=1) + "\n")
        return
    n = min(a.photos, len(sets["labels"]))
    right = {name: dict.fromkeys(KEYS, 0) for name in table}
    seen = dict.fromkeys(table, 0)
    quality = {name: [] for name in table}
    for i in range(n if a.recovery else 0):
        for name, (function, most) in table.items():
            if i >= most:
                continue
            # At full strength only clean pictures fare otherwise than under the preset itself.
            keys = ("clean",) if name.endswith("full strength") else KEYS
            made = {k: function(sets[k][i], i) for k in keys}
            hit = logits_of(model, np.stack(list(made.values())), 4).argmax(1) == sets["labels"][i]
            for k, ok in zip(made, hit, strict=True):
                right[name][k] += int(ok)
            seen[name] += 1
            error = np.mean((made["clean"].astype(np.float64) - sets["clean"][i]) ** 2)
            quality[name].append((10 * np.log10(255**2 / max(error, 1e-2)), ssim(made["clean"], sets["clean"][i])))
    rows = report.setdefault("recovery", {})
    for name in table:
        if not seen[name]:
            continue
        share = {k: round(v / seen[name], 4) for k, v in right[name].items()}
        psnr, similar = np.mean(quality[name], 0)
        if name.endswith("full strength"):
            share = {"clean": share["clean"]}
        else:
            share["recovery"] = round((share["pgd8"] + share["pgd16"] + share["mi16"]) / 3, 4)
        rows[name] = {
            "n": seen[name],
            **share,
            "psnr": round(float(psnr), 2),
            "ssim": round(float(similar), 4),
        }
        print(name, rows[name], flush=True)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    a.out.write_text(json.dumps(report, indent=1) + "\n")
    if a.adaptive:
        report.setdefault("adaptive", {}).update(attack="PGD-8, 10 steps, BPDA through the preset", n=a.adaptive)
        for name in (f"ours {p}" for p in PRESET_NAMES):
            if name in table:
                report["adaptive"][name] = adaptive(table[name][0], sets, a.adaptive, 1, turn_of(name[5:]))
        if "ours randomized" in table:
            report["adaptive"]["ours randomized, EOT of 4"] = adaptive(table["ours randomized"][0], sets, a.adaptive, 4)
        print(report["adaptive"], flush=True)
        a.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
