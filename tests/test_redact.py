"""Redaction: a plain reference of which pixels belong to a region, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ondevice_guard import _core
from ondevice_guard.errors import UnsupportedInput

METHODS = ("inpaint", "blur", "box")
RNG = np.random.default_rng(11)


def inside(regions: list[list[tuple[float, float]]], height: int, width: int) -> np.ndarray:
    """Even-odd rule at pixel centres, one pixel at a time."""
    mask = np.zeros((height, width), bool)
    for i in range(height):
        for j in range(width):
            for region in regions:
                odd = False
                for (xa, ya), (xb, yb) in zip(region, region[1:] + region[:1], strict=True):
                    y = i + 0.5
                    if (ya <= y) != (yb <= y) and xa + (y - ya) / (yb - ya) * (xb - xa) <= j + 0.5:
                        odd = not odd
                mask[i, j] |= odd
    return mask


corner = st.tuples(st.floats(-20, 60, width=32), st.floats(-20, 60, width=32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(corner, min_size=3, max_size=5), min_size=1, max_size=3), st.sampled_from(METHODS))
def test_exactly_the_pixels_inside_may_change(regions: list[list[tuple[float, float]]], method: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 43, 3), np.uint8)
    mask = inside(regions, 31, 43)
    after = _core.redact.fill(pixels, regions, method)
    np.testing.assert_array_equal(after[~mask], pixels[~mask])
    if mask.sum() > 30:
        assert (after[mask] != pixels[mask]).any(axis=1).mean() > 0.8  # noise is not left standing


def square(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def test_inpainting_continues_a_ramp() -> None:
    """A linear ramp is harmonic: it comes back within two grey levels."""
    ramp = np.repeat(np.linspace(20, 220, 101)[None, :], 61, axis=0)
    pixels = np.repeat(ramp[..., None], 3, axis=2).astype(np.uint8)
    dirty = pixels.copy()
    dirty[25:37, 40:60] = RNG.integers(0, 256, (12, 20, 3))
    after = _core.redact.fill(dirty, [square(40, 25, 60, 37)], "inpaint")
    assert np.abs(after.astype(int) - pixels).max() <= 2


def test_a_flat_surrounding_fills_flat() -> None:
    pixels = np.full((50, 50, 3), 137, np.uint8)
    pixels[20:30, 10:40] = 0
    for method in ("inpaint",):
        assert (_core.redact.fill(pixels, [square(10, 20, 40, 30)], method) == 137).all()


def test_box_is_one_colour_and_blur_hides_strokes() -> None:
    pixels = np.full((60, 200, 3), 255, np.uint8)
    pixels[20:40, 10:190:4] = 0  # strokes of one pixel in four
    region = square(8, 18, 192, 42)
    boxed = _core.redact.fill(pixels, [region], "box")[18:42, 8:192]
    assert np.unique(boxed.reshape(-1, 3), axis=0).shape[0] == 1
    blurred = _core.redact.fill(pixels, [region], "blur")[20:40, 30:170].astype(int)
    assert np.abs(np.diff(blurred[..., 0], axis=1)).max() <= 1


def test_a_region_over_everything_and_one_outside() -> None:
    pixels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    filled = _core.redact.fill(pixels, [square(-9, -9, 99, 99)], "inpaint")
    assert np.unique(filled.reshape(-1, 3), axis=0).shape[0] == 1
    np.testing.assert_array_equal(_core.redact.fill(pixels, [square(-9, -9, -1, -1)], "inpaint"), pixels)
    np.testing.assert_array_equal(_core.redact.fill(pixels, [], "inpaint"), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7, 3), (7, 1, 4), (33, 17), (33, 17, 4)])
def test_shapes_strides_and_out(shape: tuple[int, ...]) -> None:
    pixels = RNG.integers(0, 256, shape, np.uint8)
    region = [square(0, 0, max(1, shape[1] // 2), max(1, shape[0] // 2))]
    expected = _core.redact.fill(pixels, region)
    assert expected.shape == shape
    wide = np.repeat(pixels, 2, axis=1)[:, ::2]
    wide.flags.writeable = False
    np.testing.assert_array_equal(_core.redact.fill(wide, region), expected)
    out = np.empty(shape, np.uint8)
    assert _core.redact.fill(pixels, region, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("regions", "method", "message"),
    [
        ([[(0, 0), (1, 1)]], "box", "three corners"),
        ([square(0, 0, float("nan"), 1)], "box", "finite"),
        ([square(0, 0, float("inf"), 1)], "blur", "finite"),
        ([square(0, 0, 1, 1)], "paint", "method"),
    ],
)
def test_misuse_is_refused(regions: list[list[tuple[float, float]]], method: str, message: str) -> None:
    with pytest.raises(UnsupportedInput, match=message):
        _core.redact.fill(np.zeros((4, 4, 3), np.uint8), regions, method)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("bits", range(1, 8))
def test_low_bits_against_the_formula(bits: int, threads: int) -> None:
    pixels = RNG.integers(0, 256, (67, 35, 3), np.uint8)
    expected = (pixels & np.uint8(0xFF << bits & 0xFF)) | np.uint8(1 << (bits - 1))
    np.testing.assert_array_equal(_core.redact.reset_low_bits(pixels, bits, threads=threads), expected)
    with pytest.raises(UnsupportedInput, match="bits"):
        _core.redact.reset_low_bits(pixels, 8)
