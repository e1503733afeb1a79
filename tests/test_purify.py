"""Purification kernels against plain references, on every backend; the public `purify`."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ondevice_guard import Guard, Policy, _core, errors, purification
from ondevice_guard.purification import PRESET_NAMES, PRESETS, purify

GOLDEN = Path(__file__).parent / "golden" / "purify.json"
P = _core.purify
SIZES = [(1, 1), (1, 7), (7, 1), (2, 3), (5, 3), (31, 33), (17, 224), (9, 300), (40, 336), (23, 500)]
CHANNELS = [1, 3, 4]
QUADS = [((5.0, 4.0), (20.5, 6.0), (19.0, 15.0), (4.0, 13.0)), ((-3.0, 20.0), (8.0, 20.0), (8.0, 90.0), (-3.0, 90.0))]

#: Every filter with parameters that exercise it; each must pass the table tests below.
FILTERS: dict[str, Callable[..., np.ndarray]] = {
    "median3": lambda image, **k: P.median(image, 3, **k),
    "median5": lambda image, **k: P.median(image, 5, **k),
    "bit_depth": lambda image, **k: P.bit_depth(image, 3, **k),
    "low_bits": lambda image, **k: P.reset_low_bits(image, 2, **k),
    "dct_420": lambda image, **k: P.dct_quantise(image, 25, **k),
    "dct_444": lambda image, **k: P.dct_quantise(image, 60, subsample=False, **k),
    "dct_shifts": lambda image, **k: P.dct_quantise(image, 40, shifts=4, **k),
    "dct_shrink": lambda image, **k: P.dct_shrink(image, 40.0, shifts=2, **k),
    "bilateral": lambda image, **k: P.bilateral(image, 50.0, 75.0, **k),
    "bilateral_small": lambda image, **k: P.bilateral(image, 20.0, 2.0, radius=2, **k),
    "guided": lambda image, **k: P.guided(image, 4, 400.0, **k),
    "total_variation": lambda image, **k: P.total_variation(image, 0.1, 8, **k),
    "nlm": lambda image, **k: P.nlm(image, 20.0, search=2, **k),
    "wavelet": lambda image, **k: P.wavelet_shrink(image, shifts=2, **k),
    "resize_pad": lambda image, **k: P.resize_pad(image, 7, **k),
    "rotate": lambda image, **k: P.rotate(image, 5.0, **k),
    "rotate_linear": lambda image, **k: P.rotate(image, 5.0, taps=2, **k),
    "fill_inpaint": lambda image, **k: P.fill(image, QUADS, method="inpaint", **k),
    "fill_blur": lambda image, **k: P.fill(image, QUADS, method="blur", **k),
    "fill_box": lambda image, **k: P.fill(image, QUADS, method="box", **k),
}


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A picture with edges, gradients and a little noise, the same on every machine: whole-number arithmetic only."""
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([(3 * x + y) % 256, (x * y // 16) % 256, np.where((x // 24 + y // 16) % 2, 200, 40)], -1)
    noise = (x[..., None] * 7919 + y[..., None] * 104729 + np.arange(3) * 31) % 13
    return np.clip(base + noise - 6, 0, 255).astype(np.uint8)


# -------------------------------------------------------------------------------------- what every filter must do


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("channels", CHANNELS)
def test_one_result_for_every_cut_backend_and_layout(backend: str, name: str, channels: int) -> None:
    f = FILTERS[name]
    for height, width in (*SIZES, (150, 201)):
        image = picture(height, width, channels)
        expected = f(image, threads=1)
        assert expected.shape == image.shape
        assert expected.dtype == np.uint8
        for threads in (2, 4):
            np.testing.assert_array_equal(f(image, threads=threads), expected)
        wide = np.zeros((height * 2, width * 3, *image.shape[2:]), np.uint8)
        view = wide[::2, ::-3][:height, :width]
        view[:] = image
        view.setflags(write=False)
        np.testing.assert_array_equal(f(view), expected)
        again = image.copy()
        assert f(again, out=again, threads=2) is again
        np.testing.assert_array_equal(again, expected)
        _core.backend.force(_core.backend.available()[-1])
        np.testing.assert_array_equal(f(image), expected)
        _core.backend.force(backend)


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("bit_depth", "low_bits", "fill_box")])
@pytest.mark.parametrize("value", [0, 255, 128, 77])
def test_flat_pictures_stay_flat(backend: str, name: str, value: int) -> None:
    """To within one level: JPEG's mean is quantised as well."""
    flat = np.full((37, 300, 3), value, np.uint8)
    result = FILTERS[name](flat).astype(int)
    assert result.min() == result.max()
    assert abs(int(result[0, 0, 0]) - value) <= (6 if name.startswith("dct") else 0)
    if value == 255:
        assert result.min() >= 254


@pytest.mark.parametrize("name", FILTERS)
def test_golden(backend: str, name: str) -> None:
    """The bytes of 1.0; they change only on purpose, in a commit that says why (run this file as a script)."""
    assert hashlib.sha256(FILTERS[name](smooth(150, 201)).tobytes()).hexdigest() == json.loads(GOLDEN.read_text())[name]


# ----------------------------------------------------------------------------------------------- median, depth, bits


def median_reference(image: np.ndarray, size: int) -> np.ndarray:
    r = size // 2
    padded = np.pad(image, [(r, r), (r, r)] + [(0, 0)] * (image.ndim - 2), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))
    return np.median(windows, axis=(-2, -1)).astype(np.uint8)


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(
    "shape", [*SIZES, (3, 31), (3, 32), (4, 63), (4, 64), (6, 65), (3, 97)]
)  # whole vectors, and one more
def test_median_is_the_median(backend: str, shape: tuple[int, int], size: int, channels: int) -> None:
    image = picture(*shape, channels)
    np.testing.assert_array_equal(P.median(image, size), median_reference(image, size))
    image = np.where(image > 127, 255, 0).astype(np.uint8)  # by the 0-1 principle, all a network can get wrong
    np.testing.assert_array_equal(P.median(image, size), median_reference(image, size))


@pytest.mark.parametrize("bits", range(1, 9))
def test_bit_depth(backend: str, bits: int) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    levels = 2**bits - 1
    np.testing.assert_array_equal(P.bit_depth(ramp, bits), np.rint(np.rint(ramp / 255 * levels) * 255 / levels))


@pytest.mark.parametrize("bits", range(1, 5))
def test_low_bits_carry_nothing(backend: str, bits: int) -> None:
    image = picture(40, 61)
    clean = P.reset_low_bits(image, bits)
    other = (image & ~np.uint8(2**bits - 1)) | (picture(40, 61, seed=1) & np.uint8(2**bits - 1))
    np.testing.assert_array_equal(P.reset_low_bits(other, bits), clean)
    np.testing.assert_array_equal(P.reset_low_bits(clean, bits), clean)
    assert np.abs(clean.astype(int) - image).max() < 2**bits
    assert P.reset_low_bits(np.full((2, 2), 255, np.uint8), bits).min() == 255


# --------------------------------------------------------------------------------------------------------------- DCT

LUMA = [
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
]


def dct_matrix() -> np.ndarray:
    k, n = np.mgrid[0:8, 0:8]
    return np.cos((2 * n + 1) * k * np.pi / 16) * np.where(k == 0, np.sqrt(1 / 8), 0.5)


@pytest.mark.parametrize("quality", [10, 25, 50, 90])
def test_gray_dct_is_jpegs(backend: str, quality: int) -> None:
    image = smooth(64, 96)[..., 0]
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    q = np.clip((np.array(LUMA).reshape(8, 8) * percent + 50) // 100, 1, 255)
    m = dct_matrix()
    blocks = image.reshape(8, 8, 12, 8).transpose(0, 2, 1, 3).astype(float) - 128
    back = m.T @ (np.rint((m @ blocks @ m.T) / q) * q) @ m
    expected = np.clip(np.rint(back.transpose(0, 2, 1, 3).reshape(64, 96) + 128), 0, 255)
    got = P.dct_quantise(image, quality)
    # 16-bit arithmetic moves a coefficient that lies on the edge of two steps, hence the mean and not the maximum.
    assert np.abs(got - expected).mean() < 0.6
    assert np.median(np.abs(got - expected)) <= 1


@pytest.mark.parametrize(("quality", "subsample"), [(25, True), (50, True), (75, False)])
def test_colour_dct_is_close_to_a_jpeg_round_trip(backend: str, quality: int, subsample: bool) -> None:
    import io

    image = smooth(120, 176)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=2 if subsample else 0)
    jpeg = np.asarray(Image.open(buffer)).astype(int)
    got = P.dct_quantise(image, quality, subsample=subsample)

    def error(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a.astype(float) - b) ** 2).mean()))

    # The test picture is all chroma edges, where libjpeg's triangle upsampling and ours (repeat) differ most.
    assert error(got, image) < 1.15 * error(jpeg, image)
    assert error(got, jpeg) < 0.8 * error(jpeg, image)


def test_dct_never_overflows(backend: str) -> None:
    """Patterns with all their energy in one coefficient end within the quantiser's step of themselves."""
    m = dct_matrix()
    for u in range(8):
        for v in range(8):
            block = np.where(np.outer(m[v], m[u]) >= 0, 255, 0).astype(np.uint8)
            image = np.tile(block, (2, 4))
            assert np.abs(P.dct_quantise(image, 95).astype(int) - image).max() <= 40
            assert np.abs(P.dct_shrink(image, 0.0, shifts=1).astype(int) - image).max() <= 3
            for quality in (1, 10, 50):
                got = P.dct_quantise(image, quality).astype(int)
                assert ((got - 127.5) * (image - 127.5)).sum() >= 0  # never the opposite sign


def test_shifted_grids_come_closer_to_the_original(backend: str) -> None:
    y, x = np.mgrid[0:150, 0:201]
    image = np.stack([128 + 90 * np.sin(x / 9 + y / 17), 128 + 90 * np.cos(y / 11), x], -1).astype(np.uint8)
    errors_ = [np.abs(P.dct_quantise(image, 20, shifts=s).astype(int) - image).mean() for s in (1, 2, 4, 8)]
    assert errors_ == sorted(errors_, reverse=True)


# ------------------------------------------------------------------------------------------------ bilateral, guided


def bilateral_reference(image: np.ndarray, sigma_color: float, sigma_space: float, r: int) -> np.ndarray:
    v = image.astype(float) if image.ndim == 3 else image[..., None].astype(float)
    padded = np.pad(v, [(r, r), (r, r), (0, 0)], mode="reflect")
    total, weights = np.zeros_like(v), np.zeros(v.shape[:2])
    for dy in range(-r, r + 1):
        for dx in range(-r, r + 1):
            if dx * dx + dy * dy > r * r:
                continue
            q = padded[r + dy : r + dy + v.shape[0], r + dx : r + dx + v.shape[1]]
            d = np.abs(q - v).sum(-1)
            w = np.exp(-(dx * dx + dy * dy) / (2 * sigma_space**2) - d * d / (2 * sigma_color**2))
            total += w[..., None] * q
            weights += w
    return (total / weights[..., None]).reshape(image.shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("sigma_color", "sigma_space", "radius"), [(25, 75, 4), (50, 75, 4), (75, 75, 4), (30, 3, 5)])
def test_bilateral_error_against_the_exact_filter(
    backend: str, sigma_color: float, sigma_space: float, radius: int, channels: int
) -> None:
    image = smooth(80, 120) if channels == 3 else smooth(80, 120)[..., 2]
    got = P.bilateral(image, sigma_color, sigma_space, radius=radius)
    error = np.abs(got - bilateral_reference(image, sigma_color, sigma_space, radius))
    assert (error <= 1.0).mean() >= 0.99
    assert error.max() <= 4


@pytest.mark.parametrize(("radius", "eps"), [(1, 50.0), (4, 400.0), (8, 2000.0)])
def test_guided_is_he_sun_tang(backend: str, radius: int, eps: float) -> None:
    image = smooth(60, 90)
    v = image.astype(float)

    def box(a: np.ndarray) -> np.ndarray:
        padded = np.pad(a, [(radius, radius), (radius, radius), (0, 0)], mode="reflect")
        side = 2 * radius + 1
        return np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1)).mean((-2, -1))

    mean = box(v)
    variance = box(v * v) - mean**2
    a = variance / (variance + eps)
    b = mean - a * mean
    assert np.abs(P.guided(image, radius, eps) - (box(a) * v + box(b))).max() <= 0.6


# ------------------------------------------------------------------------------- total variation, NLM, wavelets


def tv_reference(image: np.ndarray, weight: float, iterations: int) -> np.ndarray:
    """Chambolle's iteration as scikit-image runs it, in double precision."""
    f = image.astype(float) / 255
    p = np.zeros((2, *f.shape))
    u = f
    for i in range(iterations):
        if i:
            d = -p.sum(0)
            d[1:] += p[0, :-1]
            d[:, 1:] += p[1, :, :-1]
            u = f + d
        g = np.zeros_like(p)
        g[0, :-1] = np.diff(u, axis=0)
        g[1, :, :-1] = np.diff(u, axis=1)
        norm = np.sqrt((g**2).sum(0)) * (0.25 / weight) + 1
        p = (p - 0.25 * g) / norm
    return u * 255


@pytest.mark.parametrize("iterations", [1, 2, 20])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 61)])
def test_total_variation_is_chambolles(backend: str, shape: tuple[int, int], iterations: int) -> None:
    image = smooth(*shape)
    got = P.total_variation(image, 0.1, iterations)
    assert np.abs(got - tv_reference(image, 0.1, iterations)).max() <= 0.51


def test_total_variation_does_not_depend_on_the_cut(backend: str) -> None:
    image = smooth(700, 40)
    expected = P.total_variation(image, 0.1, 20, threads=1)
    for threads in (2, 4):
        np.testing.assert_array_equal(P.total_variation(image, 0.1, 20, threads=threads), expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_nlm_error_against_the_exact_filter(backend: str, channels: int) -> None:
    image = smooth(40, 300) if channels == 3 else smooth(40, 300)[..., 2]
    h, search, r = 20.0, 3, 3
    v = image.reshape(40, 300, -1).astype(float)
    pad = search + r
    padded = np.pad(v, [(pad, pad), (pad, pad), (0, 0)], mode="reflect")
    centre = padded[search:-search, search:-search]
    total, weights = np.zeros_like(v), np.zeros(v.shape[:2])
    for dy in range(-search, search + 1):
        for dx in range(-search, search + 1):
            moved = padded[search + dy :, search + dx :][: centre.shape[0], : centre.shape[1]]
            squared = ((centre - moved) ** 2).sum(-1)
            patch = np.lib.stride_tricks.sliding_window_view(squared, (7, 7)).sum((-2, -1))
            w = np.exp(-patch / (49 * v.shape[2] * h * h))
            total += w[..., None] * moved[r:-r, r:-r]
            weights += w
    error = np.abs(P.nlm(image, h, search=search) - (total / weights[..., None]).reshape(image.shape))
    assert error.max() <= 2.0  # weights below exp(-6) come out up to 60 % too large
    assert error.mean() <= 0.3  # 0.25 is what rounding alone gives


def test_wavelet_shrink_removes_noise_and_keeps_the_clean(backend: str) -> None:
    y, x = np.mgrid[0:160, 0:200]
    clean = np.stack([128 + 90 * np.sin(x / 19 + y / 27), 128 + 90 * np.cos(y / 21), 20 + x], -1)
    noisy = np.clip(clean + np.random.default_rng(1).normal(0, 12, clean.shape), 0, 255).astype(np.uint8)

    def rms(a: np.ndarray) -> float:
        return float(np.sqrt(((a - clean) ** 2).mean()))

    assert rms(P.wavelet_shrink(noisy)) < 0.6 * rms(noisy)
    assert rms(P.wavelet_shrink(noisy, shifts=4)) < rms(P.wavelet_shrink(noisy, shifts=1))
    assert rms(P.wavelet_shrink(noisy, 12.0)) < 0.6 * rms(noisy)
    assert np.abs(P.wavelet_shrink(noisy, 0.0).astype(int) - noisy).max() == 0


# --------------------------------------------------------------------------------------------------- resize_pad, fill


def test_resize_pad_is_a_function_of_the_seed(backend: str) -> None:
    image = smooth(100, 140)
    results = [P.resize_pad(image, seed) for seed in range(8)]
    assert len({r.tobytes() for r in results}) > 4
    np.testing.assert_array_equal(results[3], P.resize_pad(image, 3, threads=4))
    np.testing.assert_array_equal(P.resize_pad(image, 5, smallest=1.0), image)


def turned(image: np.ndarray, degrees: float, taps: int) -> np.ndarray:
    """The formula of purify.hpp in double precision, places and weights unrounded."""
    h, w = image.shape[:2]
    y, x = np.mgrid[0:h, 0:w].astype(float)
    y, x = y - (h - 1) / 2, x - (w - 1) / 2
    angle = np.deg2rad(degrees)
    qx = np.cos(angle) * x - np.sin(angle) * y + (w - 1) / 2
    qy = np.sin(angle) * x + np.cos(angle) * y + (h - 1) / 2

    def kernel(d: np.ndarray) -> np.ndarray:
        d = np.abs(d)
        if taps == 2:
            return np.maximum(1 - d, 0.0)
        near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
        return np.where(d < 1, near, np.where(d < 2, far, 0.0))

    def mirrored(i: np.ndarray, n: int) -> np.ndarray:
        i = np.abs(i) % max(2 * n - 2, 1)
        return np.where(i < n, i, 2 * n - 2 - i)

    total = np.zeros(image.shape)
    for j in range(-1, 3):
        for i in range(-1, 3):
            rows, columns = np.floor(qy).astype(int) + j, np.floor(qx).astype(int) + i
            weight = kernel(rows - qy) * kernel(columns - qx)
            total += weight[..., None] * image[mirrored(rows, h), mirrored(columns, w)]
    return np.clip(total, 0, 255)


@pytest.mark.parametrize("taps", [2, 4])
@pytest.mark.parametrize("degrees", [5.0, -4.0, 45.0, 0.1])
def test_rotate_is_the_formula(backend: str, degrees: float, taps: int) -> None:
    image = smooth(90, 121)
    apart = np.abs(P.rotate(image, degrees, taps=taps) - turned(image, degrees, taps))
    # Half of 1/64 pixel on an edge of this picture's 160 levels is 1.9 in each direction, overshoot and rounding aside.
    assert apart.max() < 5 and apart.mean() < 0.6


def test_rotate_turns_about_the_centre() -> None:
    image = picture(31, 44)
    for taps in (2, 4):
        np.testing.assert_array_equal(P.rotate(image, 0.0, taps=taps), image)
    mirrored = P.rotate(image[:, ::-1], -8.0)[
        :, ::-1
    ]  # the same, but for the rounding of weights and of places half way
    assert np.abs(mirrored.astype(int) - P.rotate(image, 8.0)).mean() < 0.2
    corner = np.zeros((65, 65), np.uint8)
    corner[32, 56] = 255  # right of the centre: a positive angle lifts it
    rows, columns = np.nonzero(P.rotate(corner, 15.0) > 60)
    assert abs(rows.mean() - (32 - 24 * np.sin(np.pi / 12))) < 1
    assert abs(columns.mean() - (32 + 24 * np.cos(np.pi / 12))) < 1


def test_random_bits_are_splitmix64() -> None:
    """First outputs of the published generator for seed 1234567."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [P.random_bits(1234567, i) for i in range(3)] == expected


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("method", ["inpaint", "blur", "box"])
def test_fill_touches_the_region_alone_and_all_of_it(backend: str, method: str, channels: int) -> None:
    image = picture(60, 80, channels)
    quad = ((10.3, 12.0), (50.7, 20.0), (48.0, 35.0), (8.0, 27.5))
    filled = P.fill(image, [quad], method=method)
    changed = (filled != image).reshape(60, 80, -1).any(-1)
    ys, xs = np.nonzero(changed)
    assert xs.min() >= 6
    assert xs.max() <= 52
    assert ys.min() >= 10
    assert ys.max() <= 37
    centre = changed[18:28, 20:40]
    assert centre.mean() > 0.9


def inside(quads: list[list[tuple[float, float]]], height: int, width: int) -> np.ndarray:
    """Even-odd rule at pixel centres, one pixel at a time."""
    mask = np.zeros((height, width), bool)
    for i, j in np.ndindex(height, width):
        for quad in quads:
            odd = False
            for (xa, ya), (xb, yb) in zip(quad, quad[1:] + quad[:1], strict=True):
                y = i + 0.5
                if (ya <= y) != (yb <= y) and xa + (y - ya) / (yb - ya) * (xb - xa) <= j + 0.5:
                    odd = not odd
            mask[i, j] |= odd
    return mask


_corner = st.tuples(st.floats(-20, 60, width=32), st.floats(-20, 60, width=32))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(_corner, min_size=4, max_size=4), min_size=1, max_size=3),
    st.sampled_from(["inpaint", "blur", "box"]),
)
def test_exactly_the_pixels_inside_may_change(quads: list[list[tuple[float, float]]], method: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 43, 3), np.uint8)
    mask = inside(quads, 31, 43)
    after = P.fill(pixels, quads, method=method)
    np.testing.assert_array_equal(after[~mask], pixels[~mask])
    if mask.sum() > 30:
        assert (after[mask] != pixels[mask]).any(axis=1).mean() > 0.8  # noise is not left standing


@pytest.mark.parametrize("method", ["inpaint", "box"])
def test_what_was_hidden_leaves_no_trace(backend: str, method: str) -> None:
    quads = [((10, 10), (50, 10), (50, 30), (10, 30)), ((30, 20), (70, 20), (70, 40), (30, 40))]
    image = picture(60, 80)
    other = image.copy()
    other[10:30, 10:50] = 255 - other[10:30, 10:50]
    other[20:40, 30:70] = 7
    np.testing.assert_array_equal(P.fill(other, quads, method=method), P.fill(image, quads, method=method))


def test_inpaint_continues_a_gradient(backend: str) -> None:
    y, x = np.mgrid[0:80, 0:120]
    image = np.stack([x + 50, y + 100, x + y], -1).astype(np.uint8)
    filled = P.fill(image, [((40, 30), (80, 30), (80, 45), (40, 45))])
    assert np.abs(filled.astype(int) - image).max() <= 6


def test_slivers_outside_and_everything() -> None:
    image = picture(30, 40)
    thin = P.fill(image, [((5.0, 5.4), (30.0, 5.45), (30.0, 5.48), (5.0, 5.45))], method="box")
    np.testing.assert_array_equal(thin, image)  # no pixel's centre lies in it
    np.testing.assert_array_equal(P.fill(image, [((100, 100), (120, 100), (120, 120), (100, 120))]), image)
    np.testing.assert_array_equal(P.fill(image, []), image)
    everything = ((-5, -5), (50, -5), (50, 40), (-5, 40))
    assert np.unique(P.fill(image, [everything])).tolist() == [128]
    with pytest.raises(errors.UnsupportedInput, match="quads"):
        P.fill(image, [((0, 0), (1, float("nan")), (1, 1), (0, 1))])
    with pytest.raises(errors.UnsupportedInput, match="method"):
        P.fill(image, [everything], method="smear")


@pytest.mark.parametrize(
    "call",
    [
        lambda x: P.median(x, 4),
        lambda x: P.bit_depth(x, 0),
        lambda x: P.reset_low_bits(x, 5),
        lambda x: P.dct_quantise(x, 0),
        lambda x: P.dct_quantise(x, 50, shifts=3),
        lambda x: P.dct_shrink(x, -1.0),
        lambda x: P.dct_shrink(x, float("nan")),
        lambda x: P.bilateral(x, 0.0, 75.0),
        lambda x: P.bilateral(x, 10.0, 10.0, radius=9),
        lambda x: P.guided(x, 0, 1.0),
        lambda x: P.guided(x, 3, float("nan")),
        lambda x: P.resize_pad(x, 0, smallest=0.1),
        lambda x: P.rotate(x, 46.0),
        lambda x: P.rotate(x, taps=3),
        lambda x: P.rotate(x, float("nan")),
        lambda x: P.total_variation(x, 0.0, 5),
        lambda x: P.total_variation(x, 0.1, 0),
        lambda x: P.nlm(x, 0.0),
        lambda x: P.nlm(x, 5.0, search=21),
        lambda x: P.wavelet_shrink(x, -2.0),
        lambda x: P.wavelet_shrink(x, shifts=3),
    ],
)
def test_impossible_parameters_are_named(call: Callable[[np.ndarray], object]) -> None:
    with pytest.raises(errors.UnsupportedInput, match="must be"):
        call(picture(8, 8))


# ---------------------------------------------------------------------------------------------------- public purify


@pytest.mark.parametrize("preset", PRESET_NAMES)
def test_presets(preset: str) -> None:
    image = smooth(90, 121)
    frozen = image.copy()
    frozen.setflags(write=False)
    result = purify(frozen, preset, seed=3)
    np.testing.assert_array_equal(frozen, image)
    assert result.shape == image.shape
    assert 0 < np.abs(result.astype(int) - image).mean() < 60
    out = np.empty_like(image)
    assert purify(image, preset=preset, out=out, seed=3, threads=2) is out
    np.testing.assert_array_equal(out, result)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_presets_follow_the_noise(preset: str) -> None:
    quiet = smooth(90, 121)
    noisy = np.clip(quiet + np.random.default_rng(4).normal(0, 8, quiet.shape), 0, 255).astype(np.uint8)
    steps = PRESETS[preset]
    np.testing.assert_array_equal(purify(quiet, preset), purify(quiet, steps=steps.quiet))
    np.testing.assert_array_equal(purify(noisy, preset), purify(noisy, steps=steps.noisy))
    np.testing.assert_array_equal(purify(quiet, preset, strength="full"), purify(quiet, steps=steps.noisy))


def test_randomized_is_a_function_of_the_seed() -> None:
    image = smooth(90, 121)
    results = {purify(image, "randomized", seed=s).tobytes() for s in range(6)}
    assert len(results) == 6
    assert purify(image, "randomized", seed=2).tobytes() in results


# ------------------------------------------------------------------------------------------------- learned purifier


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3), (16, 16), (33, 47), (96, 31)])
def test_blocks_hold_the_mirrored_picture_and_its_level(backend: str, shape: tuple[int, int], channels: int) -> None:
    image = picture(*shape, channels)
    colours = np.repeat(image[..., None], 3, 2) if channels == 1 else image[..., :3]
    wide = np.pad(colours, ((0, -shape[0] % 16), (0, -shape[1] % 16), (0, 0)), "symmetric")
    for level, byte in ((0.0, 0), (0.1, 0), (0.125, 1), (5.6, 22), (63.75, 255), (1e9, 255)):
        expected = np.concatenate([wide, np.full((*wide.shape[:2], 1), byte, np.uint8)], 2)
        h, w = wide.shape[0] // 2, wide.shape[1] // 2
        expected = expected.reshape(h, 2, w, 2, 4).transpose(0, 2, 1, 3, 4).reshape(1, h, w, 16)
        for threads in (1, 3):
            np.testing.assert_array_equal(P.blocks(image, level, threads=threads), expected)
    with pytest.raises(errors.UnsupportedInput, match="level"):
        P.blocks(image, float("nan"))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("side", [2, 4])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (7, 3), (16, 16), (33, 47), (96, 301)])
def test_residuals_are_subtracted(backend: str, shape: tuple[int, int], side: int, channels: int) -> None:
    image = picture(*shape, channels)
    h, w = ((n + 15) // 16 * 16 // side for n in shape)
    residual = np.random.default_rng(1).integers(0, 256, (h, w, 4 * side**2), np.uint8)
    wide = residual.reshape(h, w, side, side, 4).transpose(0, 2, 1, 3, 4).reshape(side * h, side * w, 4)
    less = wide[: shape[0], : shape[1], :3].astype(int) - 128
    colours = np.repeat(image[..., None], 3, 2) if channels == 1 else image[..., :3]
    expected = np.clip(colours - less, 0, 255)
    if channels == 1:
        expected = (expected.sum(2) + 1) // 3
    elif channels == 4:
        expected = np.concatenate([expected, image[..., 3:]], 2)
    np.testing.assert_array_equal(P.subtract(image, residual), expected)
    big = np.zeros((h, w + 5, 4 * side**2), np.uint8)
    big[:, 5:] = residual
    assert P.subtract(image, big[:, 5:], out=image, threads=2) is image
    np.testing.assert_array_equal(image, expected)
    for wrong in (residual[:-1], residual[:, :-1], residual[..., :8], residual[:, ::-1], residual[0]):
        with pytest.raises(errors.UnsupportedInput, match="residual"):
            P.subtract(picture(16 * shape[0], 16 * shape[1]), wrong)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300_000), st.sampled_from([0, 16, 48]))
def test_tiles_cover_a_picture_once_and_stay_small(height: int, width: int, most: int, reach: int) -> None:
    tiles = P.tiles(height, width, most, reach)
    rows = sorted({(t, b) for (t, b, _, _), _ in tiles})
    columns = sorted({(le, r) for (_, _, le, r), _ in tiles})
    assert len(tiles) == len(rows) * len(columns)
    for parts, side in ((rows, height), (columns, width)):
        assert [a for a, _ in parts] == [0, *(b for _, b in parts[:-1])]
        assert parts[-1][1] == side
        assert all(a % 16 == 0 for a, _ in parts)
    for (top, bottom, left, right), halo in tiles:
        assert (bottom - top) * (right - left) <= max(most, 256) * 1.5 + 16 * (bottom - top + right - left)
        inside = (max(0, top - reach), min(height, bottom + reach), max(0, left - reach), min(width, right + reach))
        assert halo == inside


def noisy_picture(height: int, width: int) -> np.ndarray:
    clean = smooth(height, width)
    return np.clip(clean + np.random.default_rng(9).normal(0, 9, clean.shape), 0, 255).astype(np.uint8)


def test_learned_takes_noise_away_and_less_from_a_clean_picture() -> None:
    photo = np.asarray(Image.open(Path(__file__).parents[1] / "examples/photos/astronaut.jpg").convert("RGB"))
    clean = photo[:300, :300].astype(int)
    image = np.clip(clean + np.random.default_rng(9).normal(0, 15, clean.shape), 0, 255).astype(np.uint8)
    result = purify(image, steps=["learned"])
    assert ((result - clean) ** 2).mean() < 0.6 * ((image - clean) ** 2).mean()
    untouched = purify(clean.astype(np.uint8), steps=["learned"])
    assert np.abs(untouched - clean).mean() < 0.5 * np.abs(result.astype(int) - image).mean()


def test_denoise_takes_noise_away() -> None:
    photo = np.asarray(Image.open(Path(__file__).parents[1] / "examples/photos/astronaut.jpg").convert("RGB"))
    clean = photo[:300, :300].astype(int)
    for sigma, most in ((8, 0.3), (15, 0.2), (25, 0.12), (50, 0.06)):
        image = np.clip(clean + np.random.default_rng(9).normal(0, sigma, clean.shape), 0, 255).astype(np.uint8)
        noise = ((image - clean) ** 2).mean()
        assert ((purify(image, steps=[("denoise", {"sigma": sigma})]) - clean) ** 2).mean() < most * noise
    calm = purify(clean.astype(np.uint8), steps=[("denoise", {"sigma": 0})])
    assert np.abs(calm - clean).mean() < 2
    for wrong in ({"sigma": -1}, {"sigma": 56}, {"sigma": float("nan")}, {"sigma": "1"}, {}):
        with pytest.raises(errors.UnsupportedInput, match="sigma"):
            purify(photo, steps=[("denoise", wrong)])
    for image in (np.zeros(9, np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), "photo"):
        with pytest.raises(errors.UnsupportedInput):
            purify(image, steps=[("denoise", {"sigma": 9})])


NETWORKS = ["learned", ("learned", {"small": True}), ("denoise", {"sigma": 12.0})]


@pytest.mark.parametrize("step", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 7, 3), (33, 41), (20, 30, 4), (16, 16, 3), (129, 64, 3)])
def test_networks_take_every_shape(shape: tuple[int, ...], step: purification.Step) -> None:
    image = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    frozen = image.copy()
    frozen.setflags(write=False)
    result = purify(frozen, steps=[step], threads=1)
    assert result.shape == shape
    assert result.dtype == np.uint8
    if image.ndim == 3:
        np.testing.assert_array_equal(result[:, :, 3:], image[:, :, 3:])
    np.testing.assert_array_equal(purify(image[::-1][::-1], steps=[step], threads=2), result)
    assert purify(image, steps=[step], out=image) is image
    np.testing.assert_array_equal(image, result)


@pytest.mark.parametrize("step", NETWORKS)
def test_tiles_have_no_seams(monkeypatch: pytest.MonkeyPatch, step: purification.Step) -> None:
    image = noisy_picture(331, 290)
    whole = purify(image, steps=[step])
    for most in (64 * 64, 128 * 128):
        monkeypatch.setattr(purification, "_TILE", most)
        assert len(P.tiles(331, 290, most)) > 4
        np.testing.assert_array_equal(purify(image, steps=[step]), whole)
        again = image.copy()
        assert purify(again, steps=[step], out=again) is again
        np.testing.assert_array_equal(again, whole)


def test_learned_gain_and_out_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noisy_picture(40, 50)
    assert not np.array_equal(purify(image, steps=[("learned", {"gain": 2.0})]), purify(image, steps=["learned"]))
    for small in (2, "yes", None):
        with pytest.raises(errors.UnsupportedInput, match="small"):
            purify(image, steps=[("learned", {"small": small})])
    for gain in (0.1, 5.0, float("nan"), "1"):
        with pytest.raises(errors.UnsupportedInput, match="gain"):
            purify(image, steps=[("learned", {"gain": gain})])
    for most in (256, 1 << 21):
        monkeypatch.setattr(purification, "_TILE", most)
        with pytest.raises(errors.UnsupportedInput, match="out"):
            purify(image, steps=["learned"], out=np.zeros((40, 50), np.uint8))


@pytest.mark.parametrize("step", NETWORKS)
def test_accelerators_never_see_networks(step: purification.Step) -> None:
    class Refusing:
        def run(self, images: object, steps: object) -> None:
            raise AssertionError("asked to run a network")

    image = noisy_picture(40, 50)
    expected = purify(image, steps=[step])
    np.testing.assert_array_equal(purify(image, steps=[step], accelerator=Refusing()), expected)
    (many,) = purification.purify_many([image], steps=[step], accelerator=Refusing())
    np.testing.assert_array_equal(many, expected)


def test_presets_take_their_networks() -> None:
    networks = {p: model and model.name for p in PRESET_NAMES for model in [purification.network_of(p)]}
    assert networks == {"fast": None, "balanced": "purifier_small_v1", "strong": "purifier_v1", "randomized": None}
    image = noisy_picture(64, 64)
    made = []
    for name in ("balanced", "strong"):
        assert "learned" in [step for step, *_ in PRESETS[name].noisy]
        made.append(purify(image, steps=PRESETS[name].noisy))
        np.testing.assert_array_equal(purify(image, name, strength="full"), made[-1])
    assert not np.array_equal(*made)


def test_an_altered_network_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "purifier_v1"
    shutil.copytree(Path(__file__).parents[1] / "models" / "purifier_v1", folder)
    image = noisy_picture(40, 50)
    np.testing.assert_array_equal(purify(image, "strong", models=tmp_path), purify(image, "strong"))
    raw = bytearray((folder / "model.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "model.onnx").write_bytes(raw)
    other = tmp_path / "moved"
    other.mkdir()
    folder.rename(other / "purifier_v1")  # a loaded model is kept by its folder
    with pytest.raises(errors.ModelError, match="sha256"):
        purify(image, "strong", strength="full", models=other)
    policy = Policy(detectors=("adversarial",), purify="strong")
    shutil.copytree(Path(__file__).parents[1] / "models" / "adversarial_v1", other / "adversarial_v1")
    with pytest.raises(errors.ModelError, match="sha256"):
        Guard(policy, models=other).warm_up()
    assert "purifier_v1" in Guard(policy).check(image).models
    assert "purifier_small_v1" in Guard(policy.replace(purify="balanced")).check(image).models
    assert not {"purifier_v1", "purifier_small_v1"} & set(Guard(policy.replace(purify="fast")).check(image).models)


def test_steps_run_in_order() -> None:
    image = smooth(50, 70)
    got = purify(image, steps=["median", ("dct", {"quality": 30}), ("bit_depth", {"bits": 5})])
    np.testing.assert_array_equal(got, P.bit_depth(P.dct_quantise(P.median(image), 30), 5))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"preset": "gentle"}, "unknown preset"),
        ({"steps": ["sharpen"]}, "unknown step"),
        ({"steps": []}, "at least one"),
        ({"steps": [("dct", {"size": 3})]}, "dct"),
        ({"preset": "fast", "steps": ["median"]}, "not both"),
        ({"strength": "most"}, "strength"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 64}, "seed"),
    ],
)
def test_purify_names_what_is_wrong(arguments: dict, word: str) -> None:
    with pytest.raises(errors.UnsupportedInput, match=word):
        purify(picture(8, 8), **arguments)


if __name__ == "__main__":  # writes the golden hashes anew
    GOLDEN.parent.mkdir(exist_ok=True)
    hashes = {name: hashlib.sha256(f(smooth(150, 201)).tobytes()).hexdigest() for name, f in FILTERS.items()}
    GOLDEN.write_text(json.dumps(hashes, indent=1) + "\n")
