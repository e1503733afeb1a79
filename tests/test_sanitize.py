"""Sanitize: the plan is followed once, and nothing outside it moves."""

from __future__ import annotations

import numpy as np
import pytest

from ondevice_guard import sanitize
from ondevice_guard.types import Plan, box


def picture(height: int = 97, width: int = 131) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def test_an_empty_plan_returns_the_very_pixels() -> None:
    pixels = picture()
    assert sanitize.apply(pixels, Plan()) is pixels


@pytest.mark.parametrize("method", ["inpaint", "blur", "box"])
def test_fill_stays_inside_its_region(method: str) -> None:
    pixels = picture().copy()
    pixels[40:50, 30:90] = np.random.default_rng(0).integers(0, 2, (10, 60, 1)) * 255
    before = pixels.copy()
    after = sanitize.apply(pixels, Plan(fill=(box(30, 40, 90, 50),), fill_method=method))
    outside = np.ones(pixels.shape[:2], bool)
    outside[40:50, 30:90] = False
    np.testing.assert_array_equal(after[outside], before[outside])
    np.testing.assert_array_equal(pixels, before)  # the input is never written to
    assert after[40:50, 30:90].std() < before[40:50, 30:90].std() / 2
    assert not after.flags.writeable


def test_fill_takes_rotated_overlapping_and_outside_regions() -> None:
    pixels = picture()
    quads = (
        ((60, 10), (90, 40), (60, 70), (30, 40)),
        box(50, 30, 70, 50),
        box(-500, -500, -400, -400),
        box(120, 90, 400, 400),
    )
    after = sanitize.apply(pixels, Plan(fill=quads))
    assert after.shape == pixels.shape
    np.testing.assert_array_equal(after[:8], pixels[:8])


def test_a_region_over_the_whole_picture_leaves_nothing_of_it() -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8)
    for method in ("inpaint", "blur", "box"):
        after = sanitize.apply(pixels, Plan(fill=(box(-5, -5, 70, 50),), fill_method=method))
        assert after.std() < pixels.std() / 2


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_low_bits_carry_nothing_afterwards(bits: int) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (33, 47, 3), np.uint8)
    after = sanitize.apply(pixels, Plan(reset_low_bits=bits))
    np.testing.assert_array_equal(after >> bits, pixels >> bits)
    other = sanitize.apply(pixels ^ np.uint8((1 << bits) - 1), Plan(reset_low_bits=bits))
    np.testing.assert_array_equal(after, other)  # nothing of the old low bits is left


def test_the_random_preset_is_seeded() -> None:
    pixels = picture()
    one, again, other = (sanitize.apply(pixels, Plan(purify="randomized"), seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_presets_change_pixels_and_keep_the_picture() -> None:
    pixels = picture()
    for preset in ("fast", "balanced", "strong"):
        after = sanitize.apply(pixels, Plan(purify=preset))
        assert after.shape == pixels.shape and (after != pixels).any()
        assert np.abs(after.astype(int) - pixels).mean() < 12
