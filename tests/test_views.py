"""Views: what each profile shows, against Pillow and against the published size rules."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image as PILImage

from ondevice_guard import views
from ondevice_guard.errors import InputError
from ondevice_guard.types import Image, box

SHAPES = [(1, 1), (3, 7), (7, 3), (224, 300), (336, 500), (501, 333)]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def look(pixels: np.ndarray, name: str) -> np.ndarray:
    return views.build(Image(pixels), [name])[name].pixels


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(views.PROFILES))
def test_every_profile_takes_every_size(shape: tuple[int, int], name: str) -> None:
    seen = views.build(Image(noise(*shape)), [name])[name]
    assert seen.pixels.dtype == np.uint8 and seen.pixels.ndim == 3 and seen.pixels.shape[2] == 3
    assert not seen.pixels.flags.writeable
    size = views.PROFILES[name].size
    if views.PROFILES[name].geometry in ("crop", "pad", "stretch"):
        assert seen.pixels.shape[:2] == (size, size)


@pytest.mark.parametrize("shape", [(300, 224), (500, 336), (337, 512), (700, 701)])
def test_clip_336_is_pillows_resize_and_centre_crop(shape: tuple[int, int]) -> None:
    height, width = shape
    pixels = noise(height, width)
    new_h, new_w = (336, int(336 * width / height)) if height <= width else (int(336 * height / width), 336)
    resized = np.asarray(PILImage.fromarray(pixels).resize((new_w, new_h), PILImage.Resampling.BICUBIC))
    top, left = (new_h - 336) // 2, (new_w - 336) // 2
    np.testing.assert_array_equal(look(pixels, "clip-336"), resized[top : top + 336, left : left + 336])


def test_siglip_384_is_pillows_stretch() -> None:
    pixels = noise(501, 333)
    expected = np.asarray(PILImage.fromarray(pixels).resize((384, 384), PILImage.Resampling.BICUBIC))
    np.testing.assert_array_equal(look(pixels, "siglip-384"), expected)


def test_plain_bilinear_matches_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    pixels = noise(700, 901)
    expected = cv2.resize(pixels, (336, 336), interpolation=cv2.INTER_LINEAR)
    assert np.abs(look(pixels, "opencv-336").astype(int) - expected).max() <= 1  # OpenCV rounds its weights to 11 bits


@pytest.mark.parametrize(
    ("size", "expected"),
    # Computed by hand from the published rule: multiples of 28, 3136 to 1003520 pixels.
    [
        ((224, 224), (224, 224)),
        ((100, 200), (112, 196)),
        ((20, 20), (56, 56)),
        ((4000, 3000), (1148, 840)),
        ((1, 1), (56, 56)),
    ],
)
def test_smart_resize_follows_the_published_rule(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert views.smart_resize(*size) == expected


@pytest.mark.parametrize("name", ["clip-336", "llama.cpp", "siglip-384", "generic", "qwen2-vl"])
def test_boxes_map_back_to_the_original(name: str) -> None:
    """A white square on black, found in the view, must land on itself in the original."""
    pixels = np.zeros((600, 900, 3), np.uint8)
    pixels[200:400, 350:550] = 255
    seen = views.build(Image(pixels), [name])[name]
    rows, cols = np.nonzero(seen.pixels[..., 0] > 127)
    padding = views.PROFILES[name].pad
    if views.PROFILES[name].geometry == "pad":
        assert (seen.pixels[0, 0] == padding).all()
    quad = seen.to_original(box(cols.min(), rows.min(), cols.max() + 1, rows.max() + 1))
    np.testing.assert_allclose(np.array(quad), [(350, 200), (550, 200), (550, 400), (350, 400)], atol=3)


def test_alpha_gives_both_composites_and_the_policys_own() -> None:
    pixels = noise(30, 41)
    alpha = np.random.default_rng(3).integers(0, 256, (30, 41), np.uint8)
    seen = views.build(Image(pixels, alpha=alpha), [], background=(10, 200, 30))
    for name, colour in (("original", (10, 200, 30)), ("over_black", (0, 0, 0)), ("over_white", (255, 255, 255))):
        a = alpha[..., None].astype(float) / 255
        exact = pixels * a + np.array(colour) * (1 - a)
        assert np.abs(seen[name].pixels - exact).max() <= 0.5 + 1e-9
    opaque = views.build(Image(pixels), [])
    assert set(opaque.items) == {"original"} and opaque.original.pixels is pixels


@pytest.mark.parametrize("shape", [(1, 32768), (32768, 2), (40, 9000)])
@pytest.mark.parametrize("name", sorted(views.PROFILES))
def test_a_very_long_picture_costs_little(shape: tuple[int, int], name: str) -> None:
    """Resizing 1x32768 to a shortest edge of 336 would make 3.7 gigapixels."""
    pixels = noise(*shape)
    tracemalloc.start()
    seen = views.build(Image(pixels), [name])[name]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    quad = np.array(seen.to_original(box(0, 0, seen.pixels.shape[1], seen.pixels.shape[0])))
    middle = quad.mean(axis=0)
    np.testing.assert_allclose(middle, (shape[1] / 2, shape[0] / 2), atol=max(2, max(shape) / 300))


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(InputError, match="unknown profile 'clip-9000'"):
        views.build(Image(noise(4, 4)), ["clip-9000"])
