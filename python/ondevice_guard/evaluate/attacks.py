"""Seeded generators of the attacks that the guard is measured against; own code, after the papers named at each.

Everything here makes test material: numpy in, numpy or file bytes out, nothing random without a seed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

# ---- image scaling (Xiao et al. 2019; Quiring et al. 2020) -----------------------------------------------------------

KERNELS = ("nearest", "bilinear", "bicubic")


@lru_cache(maxsize=64)
def resize_matrix(source: int, target: int, kernel: str) -> npt.NDArray[np.float64]:
    """Return the target x source matrix of a resize without antialiasing, as OpenCV, torch and llama.cpp do it.

    Args:
        source: Pixels along the axis of the picture.
        target: Pixels along the axis of the result, below `source`.
        kernel: `"nearest"` takes pixel floor(i * ratio); `"bilinear"` (2 taps) and `"bicubic"` (4 taps, a = -0.75) sit
            at (i + 1/2) * ratio - 1/2, borders replicated.
    """
    ratio = source / target
    matrix = np.zeros((target, source))
    rows = np.arange(target)
    if kernel == "nearest":
        matrix[rows, np.minimum(np.floor(rows * ratio).astype(int), source - 1)] = 1
        return matrix
    centre = (rows + 0.5) * ratio - 0.5
    base = np.floor(centre).astype(int)
    reach = {"bilinear": (0, 1), "bicubic": (-1, 0, 1, 2)}[kernel]
    for tap in reach:
        d = np.abs(centre - (base + tap))
        if kernel == "bilinear":
            weight = 1 - d
        else:
            a = -0.75
            near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
            weight = np.where(d <= 1, near, np.where(d < 2, far, 0))
        np.add.at(matrix, (rows, np.clip(base + tap, 0, source - 1)), weight)
    return matrix


@lru_cache(maxsize=64)
def _embedding(source: int, target: int, kernel: str) -> npt.NDArray[np.float64]:
    return np.asarray(np.linalg.pinv(resize_matrix(source, target, kernel)), np.float64)


def downscale(pixels: npt.NDArray[np.generic], size: tuple[int, int], kernel: str) -> npt.NDArray[np.float64]:
    """Resize HxWx3 to (height, width) without antialiasing; float64, not rounded."""
    down = resize_matrix(pixels.shape[0], size[0], kernel)
    across = resize_matrix(pixels.shape[1], size[1], kernel)
    return np.asarray(np.einsum("ih,hwc,jw->ijc", down, pixels.astype(np.float64), across, optimize=True))


def image_scaling(pixels: Pixels, payload: Pixels, kernel: str, strength: float = 1.0, steps: int = 8) -> Pixels:
    """Hide `payload` so that it appears when the picture is scaled to the payload's size with `kernel`.

    The smallest change in the least-squares sense, K⁺ (wanted - K x), is added and clipped to 0-255, `steps` times
    (projected gradient with the pseudo-inverse as preconditioner).

    Args:
        pixels: uint8 HxWx3, larger than the payload on both axes.
        payload: uint8 hxwx3.
        kernel: One of `KERNELS`.
        strength: Opacity of the payload over the scaled picture, in (0, 1].

    Returns:
        uint8 HxWx3.
    """
    size = payload.shape[:2]
    up = _embedding(pixels.shape[0], size[0], kernel)
    across = _embedding(pixels.shape[1], size[1], kernel)
    wanted = (1 - strength) * downscale(pixels, (size[0], size[1]), kernel) + strength * payload.astype(np.float64)
    x = pixels.astype(np.float64)
    for _ in range(steps):
        missing = wanted - downscale(x, (size[0], size[1]), kernel)
        x = np.clip(x + np.einsum("hi,ijc,wj->hwc", up, missing, across, optimize=True), 0, 255)
    return np.rint(x).astype(np.uint8)
