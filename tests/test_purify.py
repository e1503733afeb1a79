"""Purification kernels against plain references, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from ondevice_guard import _core

SIZES = [(1, 1), (1, 7), (7, 1), (2, 3), (5, 3), (31, 33), (17, 224), (9, 300), (40, 336), (23, 500)]
CHANNELS = [1, 3, 4]


def picture(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def median_reference(image: np.ndarray, size: int) -> np.ndarray:
    r = size // 2
    padded = np.pad(image, [(r, r), (r, r)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    return np.median(windows, axis=(-2, -1)).astype(np.uint8)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [3])
@pytest.mark.parametrize("shape", SIZES)
def test_median_is_the_median(backend: str, shape: tuple[int, int], size: int, channels: int) -> None:
    image = picture(*shape, channels)
    expected = median_reference(image, size)
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(_core.purify.median(image, size, threads=threads), expected)


def test_arrays_of_every_layout(backend: str) -> None:
    base = picture(40, 60, 3)
    for image in (base[::2], base[:, ::-1], base[::-3, 5:50:2], base.transpose(1, 0, 2), base[..., ::-1], base[..., 0]):
        frozen = image.view()
        frozen.setflags(write=False)
        expected = _core.purify.median(np.ascontiguousarray(image))
        np.testing.assert_array_equal(_core.purify.median(frozen), expected)
        out = np.empty((image.shape[0] + 2, *image.shape[1:]), np.uint8)[1:-1]
        assert _core.purify.median(image, out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_in_place(backend: str) -> None:
    image = picture(33, 47, 3)
    expected = _core.purify.median(image)
    _core.purify.median(image, out=image)
    np.testing.assert_array_equal(image, expected)
