"""Inputs: every kind that is accepted comes back as itself; everything else is refused with a remedy."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from ondevice_guard import decode, inputs
from ondevice_guard.errors import InputError, UnreadableInput, UnsupportedInput
from ondevice_guard.types import Limits

LIMITS = Limits()
RGB = np.random.default_rng(7).integers(0, 256, (37, 53, 3), np.uint8)
PNG = decode.encode(RGB, "png")


def back(image: object, **options: object) -> object:
    picture, source = inputs.read(image, LIMITS, **options)  # type: ignore[arg-type]
    return source.restore(picture.pixels)


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(PILImage.open(io.BytesIO(data)))


def test_encoded_kinds_come_back_as_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    for given in (PNG, bytearray(PNG), memoryview(PNG), path, str(path)):
        got = back(given)
        assert isinstance(got, bytes)
        np.testing.assert_array_equal(pixels_of(got), RGB)
    got = back(io.BytesIO(PNG))
    assert isinstance(got, io.BytesIO)
    np.testing.assert_array_equal(pixels_of(got.read()), RGB)
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    got = back(uri)
    assert isinstance(got, str) and got.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(pixels_of(base64.b64decode(got.split(",")[1])), RGB)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_pil_keeps_its_mode(mode: str) -> None:
    picture = PILImage.fromarray(RGB).convert(mode)
    got = back(picture)
    assert isinstance(got, PILImage.Image) and got.mode == mode and got.size == picture.size
    np.testing.assert_array_equal(np.asarray(got), np.asarray(picture))


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (37, 53, 1), (37, 53, 3), (37, 53, 4), (3, 7, 3)])
def test_arrays_keep_shape_and_dtype(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    if shape[-1] == 4:
        array[..., 3] = 255
    got = back(array)
    assert isinstance(got, np.ndarray) and got.dtype == np.uint8
    np.testing.assert_array_equal(got, array)
    got[:] = 0  # a copy of their own, writable


def test_strided_and_read_only_arrays_are_taken() -> None:
    for array in (RGB[::2, ::-1], RGB.transpose(1, 0, 2), np.broadcast_to(RGB[:1], RGB.shape)):
        np.testing.assert_array_equal(back(array), array)
    locked = RGB.copy()
    locked.flags.writeable = False
    np.testing.assert_array_equal(back(locked), locked)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0)])
def test_floats_come_back_in_their_range(value_range: tuple[float, float]) -> None:
    low, high = value_range
    array = (RGB / 255.0 * (high - low) + low).astype(np.float32)
    got = back(array, value_range=value_range)
    assert isinstance(got, np.ndarray) and got.dtype == np.float32
    np.testing.assert_allclose(got, array, atol=(high - low) * 1e-6)


def test_channels_first_is_recognised_or_asked_for() -> None:
    np.testing.assert_array_equal(back(RGB.transpose(2, 0, 1)), RGB.transpose(2, 0, 1))
    small = np.random.default_rng(2).integers(0, 256, (3, 5, 3), np.uint8)
    np.testing.assert_array_equal(back(small), small)  # numpy is HWC where it could be both
    np.testing.assert_array_equal(back(small, layout="CHW"), small)


class _Speaks:
    """An object that only knows the array interface."""

    def __init__(self, array: np.ndarray) -> None:
        self.__array_interface__ = array.__array_interface__
        self._keep = array


class _Dlpack:
    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: object) -> object:
        return self._array.__dlpack__(**options)  # type: ignore[arg-type]

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


@pytest.mark.parametrize("wrap", [_Speaks, _Dlpack])
def test_array_protocols_are_taken(wrap: type) -> None:
    np.testing.assert_array_equal(back(wrap(RGB.copy())), RGB)


def test_torch_tensors_come_back_as_tensors() -> None:
    torch = pytest.importorskip("torch")
    chw = torch.from_numpy(RGB.transpose(2, 0, 1).copy()).float() / 255
    got = back(chw, value_range=(0.0, 1.0))
    assert isinstance(got, torch.Tensor) and got.shape == chw.shape and got.dtype == chw.dtype
    assert torch.allclose(got, chw, atol=1e-6)
    with pytest.raises(UnsupportedInput, match="layout='CHW'"):
        back(torch.zeros(3, 8, 3, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("given", "options", "remedy"),
    [
        (np.zeros((0, 5, 3), np.uint8), {}, "no pixels"),
        (np.zeros((), np.uint8), {}, "pass HxW"),
        (np.zeros((2, 2, 2), np.uint8), {}, "pass HxW"),
        (np.zeros((2, 2, 3, 1), np.uint8), {}, "pass HxW"),
        (np.zeros((4, 4), object), {}, "dtype"),
        (np.zeros((4, 4), ">u2"), {}, "endian|byte order"),
        (np.zeros((4, 4), np.complex64), {}, "dtype"),
        (np.zeros((4, 4), np.float32), {}, "value_range"),
        (np.full((4, 4), np.nan, np.float32), {"value_range": (0.0, 1.0)}, "NaN|finite"),
        (np.full((4, 4), 3.0, np.float32), {"value_range": (0.0, 1.0)}, "value_range|range"),
        (np.zeros((4, 4), np.float32), {"value_range": (1.0, 0.0)}, "value_range"),
        (np.zeros((4, 4, 3), np.uint8), {"layout": "WHC"}, "layout"),
        (np.broadcast_to(np.uint8(0), (1 << 16, 1 << 16)), {}, "."),
        (b"", {}, "empty"),
        ("", {}, "empty"),
        (io.BytesIO(), {}, "empty"),
        (io.StringIO("text"), {}, "binary"),
        ("http://example.org/a.png", {}, "never fetched|nothing is ever fetched"),
        ("https://example.org/a.png", {}, "nothing is ever fetched"),
        ("file:///etc/hostname", {}, "nothing is ever fetched"),
        ("ftp://example.org/a.png", {}, "nothing is ever fetched"),
        ("data:text/html;base64,AAAA", {}, "MIME"),
        ("data:image/png;base64", {}, "data URI"),
        ("data:image/png;base64,!!!", {}, "base64"),
        ("data:image/png;base64,", {}, "empty"),
        ("Please describe the picture.\nThank you.", {}, "text="),
        ("x" * 5000, {}, "text="),
        ("no/such/file.png", {}, "no/such/file.png"),
        (3.5, {}, "float"),
        (["a.png"], {}, "list"),
    ],
    ids=lambda v: repr(v)[:40],
)
def test_misuse_names_the_remedy(given: object, options: dict[str, object], remedy: str) -> None:
    with pytest.raises(InputError, match=f"(?i){remedy}"):
        inputs.read(given, LIMITS, **options)  # type: ignore[arg-type]


def test_unreadable_paths(tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match="is a directory"):
        inputs.read(tmp_path, LIMITS)
    with pytest.raises(UnreadableInput, match="cannot read"):
        inputs.read(tmp_path / "absent.png", LIMITS)
    with pytest.raises(InputError):
        inputs.read("nul\0byte.png", LIMITS)


def test_gray_is_exact_for_grey_pictures_and_bt601_otherwise() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    np.testing.assert_array_equal(inputs.gray(grey)[0], np.arange(256))
    exact = RGB @ np.array([0.299, 0.587, 0.114])
    assert np.abs(inputs.gray(RGB) - exact).max() <= 0.51
