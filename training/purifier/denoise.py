"""White Gaussian noise on the 34 CBSD68 originals at hand: the networks beside the native filters.

    PYTHONPATH=python python training/purifier/denoise.py --data DIR [--checkpoint training/purifier/denoiser.pt] \
        --out benchmarks/results/denoise.json

Noise is added to the uint8 picture in floating point. A checkpoint sees it unclipped and unrounded, as in the FFDNet paper
(Zhang et al., arXiv:1710.04026: 33.87 / 31.21 / 27.96 dB on all 68 pictures), and a second time rounded and clipped
to uint8, which is all that the filters and the networks as they ship can take. Half of the pictures: compare with care.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from attacks import load_rgb, to_tensor
from net import UNet, load
from train import with_map

from ondevice_guard import _core, purify

P = _core.purify
#: The filters' parameters follow sigma as their authors propose: NLM h about 0.6 sigma (colour), wavelet sigma itself.
FILTERS = {
    "nlm": lambda x, s: P.nlm(x, 0.6 * s, threads=1),
    "wavelet, 4 shifts": lambda x, s: P.wavelet_shrink(x, float(s), shifts=4, threads=1),
    "dct shrink at 2.7 sigma, 4 shifts": lambda x, s: P.dct_shrink(x, 2.7 * s, shifts=4, threads=1),
    "bilateral": lambda x, s: P.bilateral(x, 4.0 * s, 3.0, threads=1),
    "denoiser_v1 as it ships": lambda x, s: purify(x, steps=[("denoise", {"sigma": s})], threads=1),
    "purifier_v1 as it ships": lambda x, _: purify(x, steps=["learned"], threads=1),
}


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255.0**2 / np.mean((a.astype(np.float64) - b) ** 2)))


@torch.no_grad()
def denoise(net: UNet, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """float HxWx3 in 1/255 units → the same, clipped; sides are padded to multiples of 8 by reflection."""
    h, w = noisy.shape[:2]
    padded = np.pad(noisy, ((0, -h % 8), (0, -w % 8), (0, 0)), "reflect")
    out = net(with_map(to_tensor(padded[None].astype(np.float32)), sigma))[0, :, :h, :w].permute(1, 2, 0).numpy() * 255
    return np.clip(out, 0, 255)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--checkpoint", type=Path)
    p.add_argument("--out", type=Path, required=True)
    a = p.parse_args()
    torch.set_num_threads(1)
    net = load(a.checkpoint) if a.checkpoint else None
    files = sorted(f for f in (a.data / "cbsd").iterdir() if f.suffix in (".png", ".jpg"))
    rows: dict[str, dict[str, float]] = {}
    for sigma in (15, 25, 50):
        scores: dict[str, list[float]] = {}
        for i, file in enumerate(files):
            clean = load_rgb(file)
            noisy = clean + np.random.default_rng((sigma, i)).standard_normal(clean.shape) * sigma
            byte = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
            made = {"noisy": noisy, "noisy, uint8": byte, **{k: f(byte, sigma) for k, f in FILTERS.items()}}
            if net:
                made["checkpoint"] = denoise(net, noisy.astype(np.float32), sigma)
                made["checkpoint, uint8 in"] = denoise(net, byte.astype(np.float32), sigma)
            for name, picture in made.items():
                scores.setdefault(name, []).append(psnr(picture, clean))
        for name, values in scores.items():
            rows.setdefault(name, {})[str(sigma)] = round(float(np.mean(values)), 2)
    rows["FFDNet, published, all 68"] = {"15": 33.87, "25": 31.21, "50": 27.96}
    for name, row in rows.items():
        print(f"{name:36s}", row)
    a.out.write_text(json.dumps({"pictures": len(files), "psnr": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
