"""Native views against Pillow, OpenCV and plain numpy, on every backend and for awkward widths."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from PIL import Image

from ondevice_guard import _core, errors

WIDTHS = [1, 3, 7, 224, 300, 336, 500]
PILLOW = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
KERNELS = [(name, True) for name in (*PILLOW, "area")] + [
    (name, False) for name in ("nearest", "bilinear", "bicubic", "corner_bilinear", "area")
]


def picture(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def strided(image: np.ndarray) -> np.ndarray:
    """The same pixels, read-only, in memory with gaps and the columns backwards."""
    big = np.zeros((image.shape[0] * 2, image.shape[1] * 3, *image.shape[2:]), np.uint8)
    view = big[::2, ::-3][: image.shape[0], : image.shape[1]]
    view[:] = image
    view.setflags(write=False)
    return view


# ---------------------------------------------------------------------------------------------------------- resampling


@pytest.mark.parametrize("kernel", PILLOW)
@pytest.mark.parametrize("width", WIDTHS)
def test_antialiased_kernels_are_pillows(backend: str, width: int, kernel: str) -> None:
    image = picture(37, width)
    for target in ((1, 1), (5, 224), (37, 13), (90, width), (224, 224), (11, 1000), (20, 200)):
        if int(PIL.__version__.split(".")[0]) < 13 and target[0] < 37 and 37 - target[0] > 2 * (width - target[1]):
            continue  # the order of the two passes changed in Pillow 13
        expected = np.asarray(Image.fromarray(image).resize(target[::-1], PILLOW[kernel]))
        for threads in (1, 2, 4):
            got = _core.views.resize(image, *target, kernel, threads=threads)
            np.testing.assert_array_equal(got, expected, err_msg=str(target))


@pytest.mark.parametrize("kernel", PILLOW)
def test_one_and_four_channels_are_pillows(backend: str, kernel: str) -> None:
    for channels in (1, 4):
        image = picture(50, 61, channels)
        got = _core.views.resize(image, 20, 33, kernel)
        planes = [image] if channels == 1 else list(image.transpose(2, 0, 1))
        for c, plane in enumerate(planes):
            expected = np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((33, 20), PILLOW[kernel]))
            np.testing.assert_array_equal(got if channels == 1 else got[..., c], expected)


def point_reference(image: np.ndarray, height: int, width: int, taps: int) -> np.ndarray:
    """Sampling at pixel centres without antialiasing, in double precision."""

    def matrix(n: int, m: int) -> np.ndarray:
        weights = np.zeros((m, n))
        for i in range(m):
            s = (i + 0.5) * n / m - 0.5
            low, t = int(np.floor(s)), s - np.floor(s)
            if taps == 2:
                values = [(low, 1 - t), (low + 1, t)]
            else:
                a, u = -0.75, 1 - t
                w0 = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a
                w1 = ((a + 2) * t - (a + 3)) * t * t + 1
                w2 = ((a + 2) * u - (a + 3)) * u * u + 1
                values = [(low - 1, w0), (low, w1), (low + 1, w2), (low + 2, 1 - w0 - w1 - w2)]
            for position, w in values:
                weights[i, min(max(position, 0), n - 1)] += w
        return weights

    rows = np.einsum("yh,hwc->ywc", matrix(image.shape[0], height), image.astype(float))
    return np.einsum("xw,ywc->yxc", matrix(image.shape[1], width), rows)


@pytest.mark.parametrize(("kernel", "taps"), [("bilinear", 2), ("bicubic", 4)])
@pytest.mark.parametrize("width", WIDTHS)
def test_plain_kernels_read_few_samples(backend: str, width: int, kernel: str, taps: int) -> None:
    image = picture(29, width)
    for target in ((7, 5), (29, 300), (60, 2 * width), (1, 1)):
        got = _core.views.resize(image, *target, kernel, antialias=False)
        exact = np.clip(point_reference(image, *target, taps), 0, 255)
        assert np.abs(got - exact).max() <= 0.5 + 1e-4  # single precision may fall on the other side of a half


def test_plain_kernels_are_opencvs(backend: str) -> None:
    cv2 = pytest.importorskip("cv2")
    image = picture(211, 307)
    for kernel, flag in (("bilinear", cv2.INTER_LINEAR), ("bicubic", cv2.INTER_CUBIC)):
        for height, width in ((100, 140), (300, 500), (64, 64)):
            expected = cv2.resize(image, (width, height), interpolation=flag).astype(int)
            assert np.abs(_core.views.resize(image, height, width, kernel, antialias=False) - expected).max() <= 1
    expected = cv2.resize(image, (100, 70), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(_core.views.resize(image, 70, 100, "area") - expected).max() <= 1
    expected = cv2.resize(image, (100, 70), interpolation=cv2.INTER_NEAREST)
    np.testing.assert_array_equal(_core.views.resize(image, 70, 100, "nearest", antialias=False), expected)


def test_area_is_the_mean_of_what_it_covers(backend: str) -> None:
    image = picture(60, 90)
    mean = image.reshape(20, 3, 30, 3, 3).mean((1, 3))
    assert np.abs(_core.views.resize(image, 20, 30, "area") - mean).max() <= 1


def test_corner_bilinear_is_llama_cpps(backend: str) -> None:
    image = picture(53, 71)
    height, width = 24, 40
    f = np.float32
    expected = np.empty((height, width, 3), np.uint8)
    for y in range(height):
        for x in range(width):
            px, py = f(f(70) / f(width)) * f(x), f(f(52) / f(height)) * f(y)
            x0, y0 = int(px), int(py)
            tx, ty = f(px - f(x0)), f(py - f(y0))
            p = image[y0 : y0 + 2, x0 : x0 + 2].astype(f)
            rows = p[:, 0] + (p[:, 1] - p[:, 0]) * tx
            expected[y, x] = (rows[0] + (rows[1] - rows[0]) * ty).astype(np.uint8)
    got = _core.views.resize(image, height, width, "corner_bilinear", antialias=False)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("kernel", "antialias"), KERNELS)
def test_resize_is_one_function_of_its_pixels(backend: str, kernel: str, antialias: bool) -> None:
    image = picture(45, 67)
    expected = _core.views.resize(image, 30, 51, kernel, antialias=antialias, threads=1)
    out = np.empty((32, 51, 3), np.uint8)
    for threads in (2, 4):
        result = _core.views.resize(strided(image), 30, 51, kernel, antialias=antialias, out=out[1:-1], threads=threads)
        assert np.shares_memory(result, out)
        np.testing.assert_array_equal(result, expected)
    for value in (0, 255, 77):
        flat = np.full((33, 500, 3), value, np.uint8)
        assert (_core.views.resize(flat, 20, 224, kernel, antialias=antialias) == value).all()
    active = _core.backend.active()
    _core.backend.force(_core.backend.available()[-1])
    np.testing.assert_array_equal(_core.views.resize(image, 30, 51, kernel, antialias=antialias), expected)
    _core.backend.force(active)


def test_unusable_sizes_and_kernels_are_named() -> None:
    image = picture(8, 8)
    for height, width in ((0, 4), (4, -1)):
        with pytest.raises(errors.UnsupportedInput, match="height, width"):
            _core.views.resize(image, height, width)
    with pytest.raises(errors.LimitExceeded):
        _core.views.resize(image, 1 << 20, 1 << 20)
    with pytest.raises(errors.UnsupportedInput, match="kernel"):
        _core.views.resize(image, 4, 4, "sinc")
    with pytest.raises(errors.UnsupportedInput, match="kernel"):
        _core.views.resize(image, 4, 4, "lanczos", antialias=False)
    with pytest.raises(errors.UnsupportedInput, match="out"):
        _core.views.resize(image, 4, 4, out=np.zeros((5, 4, 3), np.uint8))


# ------------------------------------------------------------------------------------------- composite, luma, contrast


@pytest.mark.parametrize("width", WIDTHS)
def test_composite_rounds_to_nearest(backend: str, width: int) -> None:
    rgba = picture(23, width, 4)
    colour = (200, 0, 255)
    a = rgba[..., 3:].astype(int)
    expected = (2 * (rgba[..., :3] * a + np.array(colour) * (255 - a)) + 255) // 510
    for threads in (1, 2, 4):
        got = _core.views.composite(rgba[..., :3], rgba[..., 3], colour, threads=threads)
        np.testing.assert_array_equal(got, expected)
    out = np.ascontiguousarray(rgba[..., :3])
    _core.views.composite(out, rgba[..., 3], colour, out=out)
    np.testing.assert_array_equal(out, expected)


def test_composite_of_every_value() -> None:
    value, alpha = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    image = np.repeat(value[..., None], 3, -1)
    got = _core.views.composite(image, alpha, (0, 255, 17))
    for c, background in enumerate((0, 255, 17)):
        exact = (value.astype(int) * alpha + background * (255 - alpha.astype(int))) / 255
        np.testing.assert_array_equal(got[..., c], np.rint(exact))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("channels", [3, 4])
def test_luma(backend: str, width: int, channels: int) -> None:
    image = picture(19, width, channels)
    expected = (image[..., :3].astype(int) @ [77, 150, 29] + 128) >> 8
    np.testing.assert_array_equal(_core.views.luma(image), expected)


def contrast_reference(image: np.ndarray) -> np.ndarray:
    """Exact sums in 64-bit integers, the last three operations in single precision."""
    p = (image[..., None] if image.ndim == 2 else image).astype(np.int64)
    if p.shape[2] == 1:
        planes = np.concatenate([p, 0 * p, 0 * p], -1)
    else:
        y = (p[..., :3] @ [77, 150, 29] + 128) >> 8
        planes = np.stack([y, p[..., 0] - p[..., 1], p[..., 2] - y], -1)

    def mirror(n: int) -> np.ndarray:
        if n == 1:
            return np.zeros(15, int)
        i = np.arange(-7, n + 7) % (2 * n - 2)
        return np.where(i < n, i, 2 * n - 2 - i)

    padded = planes[mirror(planes.shape[0])][:, mirror(planes.shape[1])]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (15, 15), axis=(0, 1))
    s1, s2 = windows.sum((-2, -1)), (windows**2).sum((-2, -1))
    spread = np.sqrt((225 * s2 - s1 * s1).astype(np.float32))
    z = (225 * planes - s1).astype(np.float32) * np.float32(32) / (spread + np.float32(450))
    return np.clip(np.floor(z + np.float32(128.5)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [1, 2, 9, 70])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_local_contrast(backend: str, height: int, width: int, channels: int) -> None:
    image = picture(height, width, channels)
    expected = contrast_reference(image)
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(_core.views.local_contrast(image, threads=threads), expected)
    np.testing.assert_array_equal(_core.views.local_contrast(strided(image)), expected)


def test_local_contrast_does_not_depend_on_the_cut(backend: str) -> None:
    image = picture(400, 90)
    expected = contrast_reference(image)
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(_core.views.local_contrast(image, threads=threads), expected)


@pytest.mark.parametrize("value", [0, 255, 90])
def test_flat_pictures_have_no_contrast(backend: str, value: int) -> None:
    flat = np.full((50, 300, 3), value, np.uint8)
    assert (_core.views.local_contrast(flat) == 128).all()
    extreme = np.zeros((64, 64, 3), np.uint8)
    extreme[:, ::2] = (255, 0, 255)  # the largest spread there is
    np.testing.assert_array_equal(_core.views.local_contrast(extreme), contrast_reference(extreme))


# --------------------------------------------------------------------------------------------------------------- build


def test_build_equals_the_single_calls(backend: str) -> None:
    rgba = picture(81, 120, 4)
    image, alpha, white = rgba[..., :3], rgba[..., 3], (255, 255, 255)
    requests = [
        ("over", white),
        ("over", (0, 0, 0)),
        ("resize", "bicubic", True, 40, 50),
        ("resize", "bilinear", False, 30, 30),
        ("luma",),
        ("contrast",),
    ]
    for opacity in (alpha, None):
        base = image if opacity is None else _core.views.composite(image, opacity, white)
        expected = [
            base,
            image if opacity is None else _core.views.composite(image, opacity, (0, 0, 0)),
            _core.views.resize(base, 40, 50, "bicubic"),
            _core.views.resize(base, 30, 30, "bilinear", antialias=False),
            _core.views.luma(base),
            _core.views.local_contrast(base),
        ]
        for threads in (1, 2, 4):
            got = _core.views.build(image, requests, alpha=opacity, background=white, threads=threads)
            for a, b in zip(got, expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_build_refuses_unknown_requests() -> None:
    for request in ((), ("blur",), ("resize", "bicubic"), ("over", (1, 2)), ("resize", "bicubic", True, "a", 3)):
        with pytest.raises(errors.UnsupportedInput, match="requests"):
            _core.views.build(picture(4, 4), [request])
