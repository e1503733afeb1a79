"""The header walk: what it refuses before anything is allocated, and what it must let pass."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

from ondevice_guard import _core

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
ROOT = Path(__file__).parent.parent


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, data: bytes, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(width: int, height: int, entropy: bytes = b"\0" * 16, scans: int = 1, marker: int = 0xC0) -> bytes:
    frame = segment(marker, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0")
    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + entropy
    return b"\xff\xd8" + frame + scan * scans + b"\xff\xd9"


def gif(canvas: tuple[int, int], *frames: tuple[int, int, int, int], data: bytes = b"\2\x02\x4c\x01\0") -> bytes:
    out = b"GIF89a" + struct.pack("<HHBBB", *canvas, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    for frame in frames:
        out += b"\x2c" + struct.pack("<HHHHB", *frame, 0) + data
    return out + b";"


def webp_lossless(width: int, height: int, size: int = 34) -> bytes:
    body = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14)
    body = body.ljust(size - 20, b"\0")
    return b"RIFF" + struct.pack("<I", size - 8) + b"WEBPVP8L" + struct.pack("<I", len(body)) + body


def save(image: pil.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


#: The five files of the refusal figure: name, bytes, length the figure names.
BOMBS = {
    "png_30000x30000": png(30000, 30000, zlib.compress(b"\0" * 100000)),
    "jpeg_438_megapixels_304_bytes": jpeg(20928, 20928, b"\0" * (304 - 27)),
    "webp_169_megapixels_34_bytes": webp_lossless(13000, 13000),
    "gif_frame_exceeds_canvas": gif((10, 10), (0, 0, 10, 10), (5, 5, 6000, 6000)),
    "png_2gb_chunk_46_bytes": png(1, 1, b"")[:33] + struct.pack(">I", 0x7FFFFFFF) + b"IDAT" + b"\0" * 5,
}


def test_the_bombs_have_the_sizes_of_the_figure() -> None:
    assert len(BOMBS["jpeg_438_megapixels_304_bytes"]) == 304
    assert len(BOMBS["webp_169_megapixels_34_bytes"]) == 34
    assert len(BOMBS["png_2gb_chunk_46_bytes"]) == 46


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_within_10_ms_and_16_mb(name: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(BOMBS[name])
    code = f"""
        import pathlib, resource, time, tracemalloc
        from ondevice_guard import decode
        from ondevice_guard.errors import ImageError
        data = pathlib.Path({str(path)!r}).read_bytes()
        try:  # loads what a first call loads, with another file
            decode.decode(b"\\x89PNG\\r\\n\\x1a\\n")
        except ImageError:
            pass
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        times = []
        for _ in range(5):
            start = time.perf_counter()
            try:
                decode.decode(data)
                raise SystemExit("was accepted")
            except ImageError as error:
                reason = str(error)
            times.append(time.perf_counter() - start)
        peak = tracemalloc.get_traced_memory()[1]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        print(min(times), peak, grown, reason, sep="|")
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    seconds, peak, grown, reason = run.stdout.strip().split("|")
    assert float(seconds) < 0.010
    assert int(peak) < 16e6
    assert int(grown) < 16e6
    assert len(reason) > 20


@pytest.mark.parametrize(
    "image",
    [
        pil.new("RGB", (6000, 4000), "white"),
        pil.new("L", (5000, 5000), 0),
        pil.new("1", (9000, 4000), 1),
        pil.new("RGBA", (3000, 2000), (0, 0, 0, 0)),
    ],
    ids=["white_page", "black", "one_bit", "transparent"],
)
def test_flat_pictures_are_not_bombs(image: pil.Image) -> None:
    for format, options in (
        ("PNG", {"compress_level": 9, "optimize": True}),
        ("WEBP", {"lossless": True}),
        ("GIF", {}),
    ):
        data = save(image, format, **options)
        report = _core.container.walk(data)
        assert (report.status, report.width, report.height) == ("ok", *image.size), (format, report.reason)
    for options in ({}, {"progressive": True}, {"optimize": True, "quality": 1}):
        data = save(image.convert("L"), "JPEG", **options)
        assert _core.container.walk(data).status == "ok"
    bw = pil.new("1", (3000, 2000))
    assert _core.container.walk(save(bw, "BMP")).status == "ok"


GOOD = png(4, 4, zlib.compress(b"\0" * 52))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", "malformed"),
        (b"hello world, this is text", "unsupported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported"),
        (GOOD[:-1], "malformed"),
        (GOOD[:-12], "malformed"),
        (GOOD[:40], "malformed"),
        (png(0, 4, zlib.compress(b"")), "malformed"),
        (png(4, 4, zlib.compress(b"\0" * 52), depth=3), "malformed"),
        (png(4, 4, zlib.compress(b"\0" * 52), colour=3), "malformed"),
        (png(4, 4, b"\xff" * 20), "malformed"),
        (png(3000, 3000, zlib.compress(b"\0" * 999)), "malformed"),
        (png(3000, 3000, zlib.compress(b"\0" * 999), interlace=1), "malformed"),
        (GOOD[:33] + GOOD[8:], "malformed"),
        (GOOD[:33] + chunk(b"ABCD", b"") + GOOD[33:], "malformed"),
        (GOOD[:33] + chunk(b"ab1d", b"") + GOOD[33:], "malformed"),
        (jpeg(64, 64), "ok"),
        (jpeg(64, 0), "malformed"),
        (jpeg(4000, 4000), "malformed"),
        (jpeg(64, 64, scans=101, marker=0xC2), "limit"),
        (jpeg(5000, 5000, b"\0" * 60000, scans=40, marker=0xC2), "limit"),
        (jpeg(64, 64)[:-2], "malformed"),
        (jpeg(64, 64, marker=0xC3), "malformed"),
        (jpeg(64, 64)[:2] + jpeg(64, 64)[2:15] + jpeg(64, 64)[2:], "malformed"),
        (jpeg(64, 64)[:2] + b"\xff\xe1\xff\xff" + jpeg(64, 64)[2:], "malformed"),
        (gif((4, 4), (0, 0, 4, 4), data=b"\2\x09" + b"\x11" * 9 + b"\0"), "ok"),
        (gif((4000, 4000), (0, 0, 4000, 4000)), "malformed"),
        (gif((4, 4)), "malformed"),
        (gif((4, 4), (1, 0, 4, 4)), "malformed"),
        (gif((4, 4), (0, 0, 4, 4), data=b"\x0c\1\1\0"), "malformed"),
        (webp_lossless(20, 20), "ok"),
        (webp_lossless(20, 20)[:-3], "malformed"),
    ],
)
def test_status(data: bytes, status: str) -> None:
    report = _core.container.walk(data)
    assert report.status == status, report.reason
    assert bool(report.reason) == (status != "ok")


def test_limits_are_the_callers() -> None:
    data = png(100, 50, zlib.compress(b"\0" * 50 * 301))
    assert _core.container.walk(data).status == "ok"
    assert _core.container.walk(data, pixels=4999).status == "limit"
    assert _core.container.walk(data, side=99).status == "limit"
    assert _core.container.walk(data, bytes=len(data) - 1).status == "limit"
    assert _core.container.walk(data, formats=["jpeg"]).status == "unsupported"
    frames = [pil.new("RGB", (8, 8), (50 * i, 9, 9)) for i in range(5)]
    data = save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)
    assert _core.container.walk(data).frames == 5
    assert _core.container.walk(data, frames=4).status == "limit"
    with pytest.raises(ValueError, match="formats"):
        _core.container.walk(data, formats=["jp2"])


def test_tiff_and_avif_only_on_request() -> None:
    image = pil.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    formats = ["TIFF"] + (["AVIF"] if pil.registered_extensions().get(".avif") else [])
    for format in formats:
        data = save(image, format)
        assert _core.container.walk(data).status == "unsupported"
        report = _core.container.walk(data, formats=[format.lower()])
        assert (report.status, report.width, report.height) == ("ok", 4, 4), report.reason


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_prefix_and_every_flipped_byte_ends_in_a_status(format: str) -> None:
    image = pil.fromarray(np.random.default_rng(1).integers(0, 256, (9, 11, 3), dtype=np.uint8))
    data = save(image.convert("P") if format == "GIF" else image, format)
    formats = ["png", "jpeg", "webp", "gif", "bmp", "tiff"]
    assert _core.container.walk(data, formats=formats).status == "ok"
    for end in range(0, len(data), max(1, len(data) // 200)):
        _core.container.walk(data[:end], formats=formats)
    for at in range(0, len(data), max(1, len(data) // 400)):
        for value in (0, 0xFF, 0x7F, data[at] ^ 1):
            changed = data[:at] + bytes([value]) + data[at + 1 :]
            report = _core.container.walk(changed, formats=formats)
            assert report.status in ("ok", "malformed", "limit", "unsupported")
            assert report.status != "ok" or report.end <= len(changed)


def test_spans_and_end_describe_the_file() -> None:
    data = GOOD[:33] + chunk(b"tEXt", b"Comment\0hello") + GOOD[33:] + b"PK\x03\x04 more"
    report = _core.container.walk(data)
    assert report.end == len(data) - 9
    (span,) = report.spans
    assert (span.carrier, span.coding, span.cut) == ("png:tEXt", "png_text", True)
    assert data[span.payload : span.payload + span.payload_length] == b"Comment\0hello"
    assert data[: span.offset] + data[span.offset + span.length : report.end] == GOOD


def test_the_fuzz_corpus_still_passes() -> None:
    files = sorted(CORPUS.iterdir())
    assert len(files) > 100
    formats = ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif"]
    statuses = {_core.container.walk(path.read_bytes(), formats=formats).status for path in files}
    assert statuses == {"ok", "malformed", "limit", "unsupported"}


@pytest.mark.slow
def test_the_fuzz_corpus_under_sanitizers(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    program = tmp_path / "replay"
    sources = [str(ROOT / "tests" / "fuzz" / "fuzz_container.cpp"), str(ROOT / "cpp" / "src" / "container.cpp")]
    flags = ["-std=c++17", "-O1", "-g", "-DOG_REPLAY", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run([compiler, *flags, "-I", str(ROOT / "cpp" / "include"), *sources, "-o", str(program)], check=True)
    run = subprocess.run([str(program), *map(str, sorted(CORPUS.iterdir()))], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
