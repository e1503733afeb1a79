"""The PNG writer: every file decodes, in two libraries' hands, to the very pixels, and is the same on every backend."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PILImage

from ondevice_guard import _core, decode
from ondevice_guard.errors import UnsupportedInput

PHOTOS = sorted((Path(__file__).parents[1] / "examples" / "photos").glob("*.jpg"))
_TYPES = {1: 0, 3: 2, 4: 6}


def chunks(file: bytes) -> list[tuple[bytes, bytes]]:
    """Name and data of every chunk; lengths and checksums are checked."""
    assert file[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(file):
        (length,) = struct.unpack(">I", file[at : at + 4])
        body = file[at + 4 : at + 8 + length]
        assert struct.unpack(">I", file[at + 8 + length : at + 12 + length]) == (zlib.crc32(body),)
        found.append((body[:4], body[4:]))
        at += 12 + length
    return found


def unfiltered(file: bytes) -> np.ndarray:
    """Decode by the specification, with nothing but zlib's inflate, which also checks the Adler sum."""
    (name, header), *middle, last = chunks(file)
    assert name == b"IHDR" and last == (b"IEND", b"") and {n for n, _ in middle} == {b"IDAT"}
    width, height, depth, kind, *rest = struct.unpack(">IIBBBBB", header)
    assert depth == 8 and rest == [0, 0, 0]
    bpp = next(c for c, t in _TYPES.items() if t == kind)
    inflater = zlib.decompressobj()
    raw = inflater.decompress(b"".join(d for _, d in middle))
    assert inflater.eof and not inflater.unused_data and len(raw) == height * (1 + width * bpp)
    out = np.zeros((height + 1, (width + 1) * bpp), int)
    for y in range(height):
        line = raw[y * (1 + width * bpp) :]
        row, up = out[y + 1], out[y]
        for i in range(bpp, (width + 1) * bpp):
            a, b, c = row[i - bpp], up[i], up[i - bpp]
            p = a + b - c
            paeth = min((a, b, c), key=lambda v: abs(p - v))  # of equals the first
            row[i] = (line[1 + i - bpp] + (0, a, b, (a + b) // 2, paeth)[line[0]]) % 256
    return out[1:, bpp:].reshape(height, width, bpp).astype(np.uint8)


def encoded(pixels: np.ndarray, threads: int = 0) -> bytes:
    return _core.png.encode(pixels[..., 0] if pixels.shape[2] == 1 else pixels, threads=threads)


def pictures(rng: np.random.Generator, height: int, width: int, channels: int) -> dict[str, np.ndarray]:
    shape = (height, width, channels)
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([(x * (c + 1) + y * 2) % 256 for c in range(channels)], -1).astype(np.uint8)
    page = np.full(shape, 255, np.uint8)
    page[::5, : width // 2] = 0
    walk = np.cumsum(rng.integers(-3, 4, shape), axis=1).astype(np.uint8)
    return {
        "noise": rng.integers(0, 256, shape, np.uint8), "ramp": ramp, "page": page, "walk": walk,
        "white": np.full(shape, 255, np.uint8),
        "tiles": np.tile(rng.integers(0, 256, (1, 7, channels), np.uint8), (height, width // 7 + 1, 1))[:, :width],
    }  # fmt: skip


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (7, 23), (23, 7), (40, 33)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_picture_comes_back_by_the_specification(shape, channels):
    for name, pixels in pictures(np.random.default_rng(0), *shape, channels).items():
        assert np.array_equal(unfiltered(encoded(pixels)), pixels), name


@pytest.mark.parametrize("shape", [(300, 401), (1, 70_001), (70_001, 1), (1024, 1025), (3, 200_003)])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_large_pictures_cross_blocks_windows_and_chunks(shape, channels):
    for name, pixels in pictures(np.random.default_rng(1), *shape, channels).items():
        file = encoded(pixels)
        with PILImage.open(io.BytesIO(file)) as image:
            assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels), name
        sizes = [len(d) for n, d in chunks(file) if n == b"IDAT"]
        assert max(sizes) < 1_400_000
        raw = shape[0] * (1 + shape[1] * channels)
        assert len(file) <= raw + raw // 4096 + 200, f"{name}: {len(file)} bytes for {raw}"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_samples_in_any_arrangement(data):
    channels = data.draw(st.sampled_from([1, 3, 4]))
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 40))
    alphabet = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=12))
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    pixels = rng.choice(np.array(alphabet, np.uint8), (height, width, channels))
    if data.draw(st.booleans()):
        pixels = pixels[::-1, ::-1]  # strides that no row of a file has
    assert np.array_equal(unfiltered(encoded(pixels)), pixels)


def test_skewed_statistics_need_the_code_limit():
    """Fibonacci counts give Huffman's deepest tree: without the limit of 14 bits the codes would not fit."""
    counts = [1, 1]
    while sum(counts) < 60_000:
        counts.append(counts[-1] + counts[-2])
    samples = np.repeat(np.arange(len(counts)) * 11 % 256, counts).astype(np.uint8)
    np.random.default_rng(2).shuffle(samples)
    file = _core.png.encode(samples.reshape(1, -1))
    assert np.array_equal(np.asarray(PILImage.open(io.BytesIO(file))).ravel(), samples)
    assert len(file) < 0.6 * samples.size


def test_every_backend_and_number_of_threads_writes_the_same_bytes():
    rng = np.random.default_rng(3)
    shapes = (5, 131, 3), (33, 67, 4), (70, 70_001, 1), (901, 402, 3)
    pixels = [p for shape in shapes for p in pictures(rng, *shape).values()]
    expected = [encoded(p, 1) for p in pixels]
    try:
        for name in _core.backend.available():
            _core.backend.force(name)
            for threads in (1, 2, 5):
                assert [encoded(p, threads) for p in pixels] == expected, (name, threads)
    finally:
        _core.backend.force(None)


def test_is_what_encode_uses_and_is_no_larger_than_zlib_level_1_by_more_than_a_tenth():
    for path in PHOTOS:
        pixels = np.asarray(PILImage.open(path).convert("RGB"))
        out = io.BytesIO()
        PILImage.fromarray(pixels).save(out, "PNG", compress_level=1)
        ours = decode.encode(pixels, "png")
        assert ours == _core.png.encode(pixels)
        assert len(ours) <= 1.1 * len(out.getvalue()), path.name


def test_refuses_what_is_no_picture():
    for bad in (np.zeros((2, 2), np.float32), np.zeros((0, 4), np.uint8), np.zeros((2, 2, 2), np.uint8), "x"):
        with pytest.raises(UnsupportedInput):
            _core.png.encode(bad)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- the reader of ordinary files


def filtered(pixels: np.ndarray, filters: list[int]) -> bytes:
    """The rows of HxWxC as the specification filters them, row y by `filters[y % len(filters)]`."""
    height, width, bpp = pixels.shape
    rows = np.zeros((height + 1, (width + 1) * bpp), np.int64)
    rows[1:, bpp:] = pixels.reshape(height, -1)
    out = bytearray()
    for y in range(height):
        kind = filters[y % len(filters)]
        x, a, b, c = rows[y + 1, bpp:], rows[y + 1, :-bpp], rows[y, bpp:], rows[y, :-bpp]
        p = a + b - c
        distances = np.stack([abs(p - a), abs(p - b), abs(p - c)])
        paeth = np.choose(distances.argmin(0), [a, b, c])
        out.append(kind)
        out += ((x - [0 * x, a, b, (a + b) // 2, paeth][kind]) % 256).astype(np.uint8).tobytes()
    return bytes(out)


def file_of(pixels: np.ndarray, filters: list[int], *more: tuple[bytes, bytes]) -> bytes:
    height, width, bpp = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, {1: 0, 2: 4, 3: 2, 4: 6}[bpp], 0, 0, 0)
    stream = zlib.compress(filtered(pixels, filters), 1)
    parts = [(b"IHDR", header), *more, (b"IDAT", stream[:40]), (b"IDAT", stream[40:]), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("bpp", [1, 2, 3, 4])
@pytest.mark.parametrize("filters", [[0], [1], [2], [3], [4], [4, 0, 3, 1, 2]])
def test_every_filter_is_undone(bpp: int, filters: list[int]) -> None:
    rng = np.random.default_rng(bpp)
    for size in ((1, 1), (1, 9), (7, 1), (13, 37)):
        pixels = rng.integers(0, 256, (*size, bpp), dtype=np.uint8)
        pixels[::2] //= 16  # smooth rows too: ties between predictors
        np.testing.assert_array_equal(_core.png.unfilter(filtered(pixels, filters), *size, bpp), pixels)
        colour, alpha = decode._plain_png(file_of(pixels, filters), size[1], size[0])
        np.testing.assert_array_equal(colour, pixels[..., 0] if bpp < 3 else pixels[..., :3])
        np.testing.assert_array_equal(alpha, pixels[..., -1] if bpp in (2, 4) else None)


def test_unfilter_refuses_what_does_not_fit() -> None:
    assert _core.png.unfilter(b"\x05\1\2\3", 1, 1, 3) is None
    for rows, height, width, channels in (
        (b"\0" * 7, 2, 1, 3),
        (b"", 0, 1, 3),
        (b"\0" * 6, 1, 1, 5),
        (b"\0", 1, 1 << 62, 4),
    ):
        with pytest.raises(UnsupportedInput):
            _core.png.unfilter(rows, height, width, channels)


@pytest.mark.parametrize(
    "more",
    [
        [(b"tRNS", b"\0\1\0\2\0\3")],
        [(b"acTL", b"\0\0\0\1\0\0\0\0")],
        [(b"gAMA", b"\0\0")],
        [(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))],
    ],
)
def test_what_is_out_of_the_ordinary_is_left_to_pillow(more: list[tuple[bytes, bytes]]) -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    assert decode._plain_png(file_of(pixels, [0]), 5, 4)[0] is not None
    assert decode._plain_png(file_of(pixels, [0], *more), 5, 4) == (None, None)


def test_both_decoders_agree_on_whole_and_damaged_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the native path answers, Pillow would have given the same pixels; where bytes are damaged it leaves them."""
    rng = np.random.default_rng(11)
    plain, answers = decode._plain_png, 0

    def outcome(data: bytes) -> object:
        try:
            image = decode.decode(data)
        except decode.ImageError as error:
            return type(error), str(error)
        alpha = None if image.alpha is None else image.alpha.tobytes()
        return image.pixels.shape, image.pixels.tobytes(), alpha, image.rewritten, image.findings

    for n in range(400):
        bpp = int(rng.integers(1, 5))
        pixels = rng.integers(0, 256, (*rng.integers(1, 12, 2), bpp), dtype=np.uint8)
        data = bytearray(file_of(pixels, [int(f) for f in rng.integers(0, 5, 3)]))
        for _ in range(n % 4):
            data[rng.integers(8, len(data))] ^= 1 << rng.integers(8)
        if n % 7 == 6:
            del data[int(rng.integers(20, len(data))) :]
        monkeypatch.setattr(decode, "_plain_png", plain)
        ours = outcome(bytes(data))
        answers += plain(bytes(data), pixels.shape[1], pixels.shape[0])[0] is not None
        monkeypatch.setattr(decode, "_plain_png", lambda *_: (None, None))
        assert outcome(bytes(data)) == ours, n
    assert answers > 80
