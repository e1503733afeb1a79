"""Untrusted bytes → `Image` and preflight findings; `Image` pixels → fresh bytes. The only module that imports PIL.

The order matters: the native header walk (`_core.container`) checks every length, frame and dimension against the
bytes and the limits first, then everything that is not needed for the first frame is cut out, and only the rest is
shown to Pillow's decoder of exactly that format (an ordinary PNG of 8 bits a sample: to zlib and the native core, which
take half the time; whatever is odd about it: to Pillow). So Pillow never parses EXIF, XMP, comments, later frames or trailing
bytes, and never sees a size that was not accepted before.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _core
from .errors import ImageError, InputError, LimitExceeded, MalformedImage, UnsupportedFormat, UnsupportedInput
from .types import Finding, Image, Limits, MetadataText, Pixels

if TYPE_CHECKING:
    from PIL import Image as PILImage

__all__ = ["decode", "encode", "from_array", "from_pil", "to_pil"]

_DETECTOR = "decode"
_MAX_ELEMENTS = 2**31 - 1
_SUFFIXES = {
    "png": "png", "apng": "png", "jpg": "jpeg", "jpeg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "pjpeg": "jpeg",
    "webp": "webp", "gif": "gif", "bmp": "bmp", "dib": "bmp", "x-ms-bmp": "bmp", "x-bmp": "bmp", "x-png": "png",
    "tif": "tiff", "tiff": "tiff", "avif": "avif",
}  # fmt: skip
#: Claims that say nothing about the format.
_VAGUE = {"", "*", "octet-stream", "bin", "tmp", "dat", "binary", "image", "unknown"}


# ---- bytes → Image ---------------------------------------------------------------------------------------------------


def decode(data: bytes | bytearray | memoryview, limits: Limits | None = None, *, claimed: str | None = None) -> Image:
    """Decode the first frame of an image file that nobody vouches for.

    Args:
        data: The whole file.
        limits: What it may cost; `Limits()` when None.
        claimed: What the sender says it is: a file name, a suffix or a MIME type. A contradiction is a finding.

    Returns:
        The picture as 8-bit sRGB with EXIF orientation applied and alpha kept aside, its metadata text, its thumbnail
        and the findings `type_mismatch`, `trailing_data`, `metadata_text`, `extra_frames` and `malformed` (a damaged
        colour profile or thumbnail, which does not stop the decode). Samples of 16 bits keep their high byte.

    Raises:
        UnsupportedInput: `data` is not bytes.
        UnsupportedFormat: The magic number is not on `limits.formats`.
        LimitExceeded: A limit would be exceeded; found before anything of the declared size is allocated.
        MalformedImage: A length, offset or dimension contradicts the data, or the decoder refused it.
    """
    limits = limits or Limits()
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UnsupportedInput(f"data: expected bytes, got {type(data).__name__}")
    size = memoryview(data).nbytes
    if size > limits.bytes:
        raise LimitExceeded(f"The file has {size} bytes, the limit is {limits.bytes}.")
    data = bytes(data)
    report = _walk(data, limits)
    deadline = time.monotonic() + limits.seconds
    carriers = _Carriers(data, report, limits)
    findings: list[Finding] = []

    needed = _needed_bytes(data, report)
    pixels = alpha = None
    profile, rewritten = carriers.profile, False
    if report.format == "png" and time.monotonic() < deadline:
        pixels, alpha = _plain_png(needed, report.width, report.height)
    if pixels is None:
        image = _load(needed, report.format, deadline)
        if image.size != (report.width, report.height):
            raise MalformedImage("The decoder and the header disagree about the size.")
        pixels, alpha, rewritten = _guarded(lambda: _expand(image, report.bit_depth), report.format)
        if report.format == "avif":
            profile = profile or image.info.get("icc_profile")
    pixels, converted = _colour(pixels, profile, 0 if report.srgb else report.gamma, findings)
    thumbnail = _thumbnail(data, report, deadline, findings)
    pixels = _orient(pixels, report.orientation)
    alpha = _opaque_to_none(None if alpha is None else _orient(alpha, report.orientation))
    if thumbnail is not None:
        thumbnail = _orient(thumbnail, report.orientation)

    texts = carriers.texts + _low_bit_text(pixels, limits)
    findings += _type_mismatch(claimed, report.format)
    findings += _trailing(data, report)
    findings += _metadata_finding(texts)
    if report.frames > 1:
        why = f"The file holds {report.frames} frames; only the first is checked and handed out."
        findings.append(_finding("extra_frames", 1 - 1 / report.frames, why, frames=report.frames))
    return Image(
        pixels=_frozen(pixels),
        alpha=alpha,
        format=report.format,
        frames=report.frames,
        thumbnail=None if thumbnail is None else _frozen(thumbnail),
        metadata=tuple(texts),
        findings=tuple(findings),
        rewritten=rewritten or converted or report.orientation != 1,
    )


def _walk(data: bytes, limits: Limits) -> Any:
    """Run the native header walk and raise what it refused."""
    report = _core.container.walk(
        data,
        bytes=limits.bytes,
        pixels=limits.pixels,
        side=limits.side,
        frames=limits.frames,
        scans=limits.scans,
        formats=list(limits.formats),
    )
    if report.status == "ok":
        if report.overflow:
            raise LimitExceeded(f"The file holds more than {len(report.spans)} records beside its pixels.")
        return report
    error = {"unsupported": UnsupportedFormat, "malformed": MalformedImage, "limit": LimitExceeded}[report.status]
    facts = [] if report.format == "unknown" else [report.format]
    if report.status == "limit" and report.width:
        facts.append(f"{report.width}x{report.height}")
    facts.append(f"at byte {report.where}")
    raise error(f"{report.reason} ({', '.join(facts)})")


def _needed_bytes(data: bytes, report: Any) -> bytes:
    """Return the file without the records that the first frame does not need."""
    end = report.first_frame if report.format == "gif" else report.end
    pieces, at = [], 0
    for span in report.spans:
        if span.cut and span.offset + span.length <= end:
            pieces.append(data[at : span.offset])
            at = span.offset + span.length
    if report.format == "gif":
        return b"".join([*pieces, data[at:end], b";"])
    if not pieces and end == len(data):
        return data
    return b"".join([*pieces, data[at:end]])


class _TimeUp(Exception):
    """The time limit passed while the decoder was reading."""


class _TimedReader(io.BytesIO):
    """A file that stops answering at the deadline; decoders ask for more input every 64 KiB."""

    def __init__(self, data: bytes, deadline: float) -> None:
        super().__init__(data)
        self._deadline = deadline

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise _TimeUp
        return super().read(size)


@cache
def _plugin(name: str) -> Callable[[io.BytesIO], PILImage.Image]:
    """Return the class that decodes one format. Calling it directly skips Pillow's probing of every other format."""
    module, cls = {
        "png": ("PngImagePlugin", "PngImageFile"),
        "jpeg": ("JpegImagePlugin", "JpegImageFile"),
        "webp": ("WebPImagePlugin", "WebPImageFile"),
        "gif": ("GifImagePlugin", "GifImageFile"),
        "bmp": ("BmpImagePlugin", "BmpImageFile"),
        "tiff": ("TiffImagePlugin", "TiffImageFile"),
        "avif": ("AvifImagePlugin", "AvifImageFile"),
    }[name]
    try:
        plugin: Callable[[io.BytesIO], PILImage.Image] = getattr(import_module(f"PIL.{module}"), cls)
    except ImportError as error:
        raise UnsupportedFormat(f"This Pillow cannot decode {name}.") from error
    return plugin


def _guarded(call: Callable[[], Any], name: str) -> Any:
    """Run Pillow code and turn whatever it raises (ten types have been seen) into this package's errors."""
    try:
        return call()
    except ImageError:
        raise
    except _TimeUp:
        raise LimitExceeded("Decoding took longer than the time limit.") from None
    except MemoryError as error:
        raise LimitExceeded("Decoding needs more memory than there is.") from error
    except Exception as error:
        raise MalformedImage(f"The {name} decoder refused the data: {type(error).__name__}: {error}"[:300]) from error


def _load(data: bytes, name: str, deadline: float) -> PILImage.Image:
    def load() -> PILImage.Image:
        image = _plugin(name)(_TimedReader(data, deadline))
        image.load()
        return image

    if name != "tiff":  # what the other decoders warn about was cut out, so the process-wide filters stay untouched
        return _guarded(load, name)  # type: ignore[no-any-return]
    with _tiff_lock, warnings.catch_warnings(), _silent_stderr():
        warnings.simplefilter("ignore")
        return _guarded(load, name)  # type: ignore[no-any-return]


_tiff_lock = threading.Lock()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere: libtiff writes its complaints there and Pillow does not stop it.

    The descriptor belongs to the whole process, which is why this is done for TIFF alone, which has to be asked for.
    """
    try:
        kept = os.dup(2)
    except OSError:  # closed by the host
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


#: Records of a PNG that Pillow reads and that change no sample, and the size of their data.
_PLAIN = {b"IHDR": 13, b"gAMA": 4, b"sRGB": 1, b"cHRM": 32, b"pHYs": 9}
#: Bytes of samples up to which the native path, which asks no clock, decodes: a tenth of a second.
_PLAIN_BYTES = 1 << 24


def _plain_png(
    data: bytes, width: int, height: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None] | tuple[None, None]:
    """Decode an ordinary PNG: whole, 8 bits a sample, no palette, no transparent colour, not interlaced.

    Zlib inflates and the native core undoes the filters, in half of Pillow's time. Whatever is out of the ordinary in the
    least is left to Pillow, so that one decoder alone says what is malformed.

    Returns:
        Colour (HxWx3, or HxW when grey) and alpha or None; (None, None) for Pillow to decode.
    """
    at, stream, ended = 8, [], False
    while not ended:
        name, size = data[at + 4 : at + 8], int.from_bytes(data[at : at + 4], "big")
        end = at + 12 + size
        if len(name) < 4 or end > len(data):
            return None, None
        if name == b"IDAT":
            stream.append(data[at + 8 : end - 4])
        elif name == b"IEND":
            ended = size == 0 and bool(stream)  # so that IHDR came first: nothing else may
        if name != b"IDAT" and (
            (not ended and (stream or _PLAIN.get(name) != size or (name == b"IHDR") != (at == 8)))
            or zlib.crc32(data[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big")
        ):
            return None, None
        at = end
    depth, kind, *methods = data[24:29]
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(kind, 0)
    size = height * (1 + width * channels)
    if depth != 8 or any(methods) or not channels or at != len(data) or size > _PLAIN_BYTES:
        return None, None
    try:
        rows = zlib.decompressobj().decompress(b"".join(stream), size)
    except zlib.error:
        return None, None
    samples = _core.png.unfilter(rows, height, width, channels) if len(rows) == size else None
    if samples is None:
        return None, None
    colour = samples[..., 0] if channels < 3 else samples[..., :3]
    return colour, samples[..., -1] if channels in (2, 4) else None


def _expand(image: PILImage.Image, bit_depth: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8] | None, bool]:
    """Return (colour HxWx3 or grey HxW or CMYK HxWx4, alpha or None, whether samples were converted)."""
    mode, key = image.mode, image.info.get("transparency")
    if mode in ("P", "PA"):
        rgba = key is not None or mode == "PA" or (image.palette is not None and image.palette.mode == "RGBA")
        array = np.asarray(image.convert("RGBA" if rgba else "RGB"))
        return array[..., :3], array[..., 3] if rgba else None, True
    if mode in ("La", "RGBa"):
        image, mode = image.convert({"La": "LA", "RGBa": "RGBA"}[mode]), {"La": "LA", "RGBa": "RGBA"}[mode]
    if mode in ("YCbCr", "LAB", "HSV"):
        return np.asarray(image.convert("RGB")), None, True
    if mode.startswith("I;16"):
        wide = np.asarray(image)
        return (wide >> 8).astype(np.uint8), _key_alpha(wide, key, 1), True
    if mode == "1":
        array = np.asarray(image).astype(np.uint8) * np.uint8(255)
        return array, _key_alpha(array, key, 255), True
    array = np.asarray(image)
    if mode == "L":  # Pillow scales samples of 1-4 bits to 0-255 but not the transparent value beside them
        return (
            array,
            _key_alpha(array, key, 255 // (2 ** min(bit_depth, 8) - 1) if bit_depth < 16 else 1),
            bit_depth != 8,
        )
    if mode == "LA":
        return array[..., 0], array[..., 1], bit_depth != 8
    if mode == "RGB":
        if isinstance(key, tuple):
            match = np.asarray([k >> 8 if bit_depth == 16 else k & 255 for k in key], np.uint8)
            return array, np.where((array == match).all(-1), 0, 255).astype(np.uint8), bit_depth != 8
        return array, None, bit_depth != 8
    if mode == "RGBA":
        return array[..., :3], array[..., 3], bit_depth != 8
    if mode == "RGBX":
        return array[..., :3], None, True
    if mode == "CMYK":
        return array, None, True
    raise UnsupportedFormat(f"Samples of mode {mode} have no stated range; convert the picture to 8 bits first.")


def _key_alpha(array: npt.NDArray[Any], key: Any, scale: int) -> npt.NDArray[np.uint8] | None:
    """Alpha of a grey image whose one transparent value is `key`."""
    if not isinstance(key, int):
        return None
    return np.where(array == key * scale, 0, 255).astype(np.uint8)


def _frozen(array: npt.NDArray[np.uint8]) -> Pixels:
    """Return a read-only C-contiguous array that nobody else can write to."""
    array = np.ascontiguousarray(array)
    if array.flags.writeable:
        array.flags.writeable = False
    return array


def _orient(array: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Apply an EXIF orientation (1-8) to HxW or HxWxC."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


# ---- colour ----------------------------------------------------------------------------------------------------------


def _pil(array: npt.NDArray[np.uint8], mode: str) -> PILImage.Image:
    """Return HxW or HxWxC samples as a PIL image of a mode that their shape alone does not name."""
    from PIL import Image as pil

    size = array.shape[1], array.shape[0]
    return pil.frombuffer(mode, size, np.ascontiguousarray(array).tobytes(), "raw", mode, 0, 1)


def _colour(
    array: npt.NDArray[np.uint8], profile: bytes | None, gamma: int, findings: list[Finding]
) -> tuple[npt.NDArray[np.uint8], bool]:
    mode = "L" if array.ndim == 2 else "CMYK" if array.shape[2] == 4 else "RGB"
    if profile:
        try:
            transform = _icc_transform(profile, mode)
            if transform is not None:
                return np.asarray(transform.apply(_pil(array, mode))), True
        except Exception as error:  # ImageCms raises its own type, OSError, ValueError and TypeError
            why = "The embedded colour profile cannot be used; the samples were taken as sRGB."
            findings.append(_finding("malformed", 0.2, why, part="colour profile", error=type(error).__name__))
    changed = False
    if mode == "CMYK":
        array, changed = np.asarray(_pil(array, mode).convert("RGB")), True
    elif mode == "L":
        array = np.repeat(array[:, :, None], 3, axis=2)
    if not profile and gamma and abs(gamma - 45455) > 2273:  # libpng, too, ignores a difference below 5 %
        array, changed = _gamma_table(gamma)[array], True
    return array, changed


@lru_cache(maxsize=16)
def _icc_transform(profile: bytes, mode: str) -> Any:
    """Return a transform to sRGB, or None when it would move no sample by more than 2 of 255."""
    from PIL import ImageCms

    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode == "CMYK":
        return transform
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None]
        expected = np.repeat(probe[:, :, None], 3, axis=2)
    else:
        steps = np.linspace(0, 255, 9).astype(np.uint8)
        probe = expected = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)
    moved = np.asarray(transform.apply(_pil(probe, mode))).astype(int) - expected
    return transform if np.abs(moved).max() > 2 else None


@lru_cache(maxsize=16)
def _gamma_table(gamma: int) -> npt.NDArray[np.uint8]:
    """Samples stored as light ** (gamma / 100000) → sRGB samples (PNG 3rd edition, 13.13)."""
    light = (np.arange(256) / 255) ** (100000 / min(max(gamma, 5000), 500000))
    srgb = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    table: npt.NDArray[np.uint8] = np.rint(255 * srgb).astype(np.uint8)
    return table


# ---- what is carried beside the pixels -------------------------------------------------------------------------------


class _Carriers:
    """Reads every record beside the pixels once, within one budget of bytes.

    Attributes:
        texts: One entry per carrier that holds readable text.
        profile: The ICC profile, or None.
    """

    def __init__(self, data: bytes, report: Any, limits: Limits) -> None:
        self._left = limits.ancillary
        self.profile: bytes | None = None
        self.texts: list[MetadataText] = []
        parts: list[tuple[int, bytes]] = []
        thumbnail = (report.thumbnail_offset, report.thumbnail_offset + report.thumbnail_length)
        for span in report.spans:
            payload = data[span.payload : span.payload + span.payload_length]
            if span.coding == "pixels":
                continue
            if span.coding == "icc":
                parts.append((span.index, self._take(payload)))
                continue
            if span.coding == "png_iccp":
                keyword, _, rest = payload.partition(b"\0")
                self.profile = self._inflate(rest[1:])
                self._add(span.carrier, [keyword.decode("latin-1"), *_readable(self.profile)], limits)
                continue
            if span.coding.startswith("png_"):
                self._add(span.carrier, [self._png_text(span.coding, payload)], limits)
                continue
            if span.coding == "sub_blocks":
                payload = _join_sub_blocks(payload)
            elif span.payload <= thumbnail[0] < thumbnail[1] <= span.payload + span.payload_length:
                cut = thumbnail[0] - span.payload, thumbnail[1] - span.payload
                payload = payload[: cut[0]] + b"\0" + payload[cut[1] :]  # compressed pixels, not text
            self._add(span.carrier, _readable(self._take(payload)), limits)
        if parts:
            self.profile = b"".join(part for _, part in sorted(parts, key=lambda item: item[0]))
            self._add(f"{report.format}:ICC", _readable(self.profile), limits)
        if report.end < len(data):
            self._add("trailing", _readable(data[report.end : report.end + self._left]), limits)

    def _take(self, payload: bytes) -> bytes:
        self._left -= len(payload)
        if self._left < 0:
            raise LimitExceeded("The metadata is larger than the limit.")
        return payload

    def _inflate(self, payload: bytes) -> bytes:
        inflater = zlib.decompressobj()
        try:
            out = inflater.decompress(payload, self._left + 1)
        except zlib.error:
            return b""  # it is dropped anyway, so a damaged one harms nobody
        return self._take(out)

    def _png_text(self, coding: str, payload: bytes) -> str:
        keyword, _, rest = payload.partition(b"\0")
        encoding = "latin-1"
        if coding == "png_ztxt":
            rest = self._inflate(rest[1:])
        elif coding == "png_itxt":
            encoding, flags = "utf-8", rest[:2]
            language, _, rest = rest[2:].partition(b"\0")
            translated, _, rest = rest.partition(b"\0")
            rest = self._inflate(rest) if flags[:1] == b"\1" else self._take(rest)
            keyword += b" " + language + b" " + translated
        else:
            rest = self._take(rest)
        return f"{keyword.decode('utf-8', 'replace')}: {rest.decode(encoding, 'replace')}"

    def _add(self, carrier: str, pieces: Iterable[str], limits: Limits) -> None:
        text = _join_texts(pieces)
        if text:
            self.texts.append(MetadataText(carrier, text[: limits.text]))


def _join_sub_blocks(payload: bytes) -> bytes:
    out, at = [], 0
    while at < len(payload) and payload[at]:
        out.append(payload[at + 1 : at + 1 + payload[at]])
        at += 1 + payload[at]
    return b"".join(out)


# Runs of text inside binary data: ASCII and well-formed UTF-8; UTF-16 of alphabets below U+0700, either byte order.
_UTF8_RUN = re.compile(
    rb"(?:[\x20-\x7e\t\r\n]|[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|\xf0[\x90-\xbf][\x80-\xbf]{2})" rb"{6,}"
)
_UTF16_LE_RUN = re.compile(rb"(?:[\x20-\x7e\t\r\n]\x00|[\x00-\xff][\x03-\x06]){6,}")
_UTF16_BE_RUN = re.compile(rb"(?:\x00[\x20-\x7e\t\r\n]|[\x03-\x06][\x00-\xff]){6,}")


#: Alphabets in everyday use: a table of 16-bit numbers, read as UTF-16, soon leaves the one it is in.
_ALPHABETS = (
    r"[\u0386-\u03ce]",  # Greek
    r"[\u0400-\u045f\u0490\u0491]",  # Cyrillic
    r"[\u0531-\u0587]",  # Armenian
    r"[\u05d0-\u05ea]",  # Hebrew
    r"[\u0620-\u064a\u0660-\u0669\u067e\u0686\u0698\u06a9\u06af\u06cc]",  # Arabic and Persian
)
#: Words as people write them: capitals only in front or throughout. Latin letters are those of Western and Central
#: Europe and Vietnam; the last line holds what UTF-8 spells in three bytes, from Devanagari to Hangul.
_PLAIN_WORDS = re.compile(
    r"[A-ZÀ-ÖØ-Þ]?[a-zß-öø-ſƠơƯưḀ-ỿ]{2,}|[A-ZÀ-ÖØ-Þ]{3,}|"
    + "".join(f"{alphabet}{{2,}}|" for alphabet in _ALPHABETS)
    + r"[\u0900-\u1dff\u3040-\ud7af\uff21-\uff5a]{2,}"
)


def _readable(payload: bytes) -> Iterator[str]:
    """Yield the runs of `payload` that look like text and not like compressed data or a table of numbers."""
    for pattern, encoding in ((_UTF8_RUN, "utf-8"), (_UTF16_LE_RUN, "utf-16-le"), (_UTF16_BE_RUN, "utf-16-be")):
        for match in pattern.finditer(payload):
            run = match.group().decode(encoding, "replace")
            if _looks_written(run) and (encoding == "utf-8" or _in_one_alphabet(run)):
                yield run


def _looks_written(run: str) -> bool:
    """Say whether there are enough letters in a run and, as chance makes short ones, enough words in a short one."""
    letters = sum(map(str.isalpha, run)) + len(re.findall("[ 0-9]", run))
    if len(run) < 24:
        in_words = sum(map(len, _PLAIN_WORDS.findall(run)))
        return letters >= 0.6 * len(run) and 2 * in_words >= len("".join(run.split()))
    return letters >= 0.6 * len(run) or (len(run) > 40 and letters >= 0.4 * len(run))


def _in_one_alphabet(run: str) -> bool:
    ascii_ = len(re.findall(r"[\x00-\x7f]", run))
    return ascii_ + max(len(re.findall(alphabet, run)) for alphabet in _ALPHABETS) >= 0.8 * len(run)


def _join_texts(pieces: Iterable[str]) -> str:
    """Join what one carrier holds, line by line and without repeats; of XML only the passages."""
    pieces = [piece for piece in pieces if piece.strip()]
    if any(mark in piece for piece in pieces for mark in ("xmlns", "xpacket", "</")):
        pieces = [passage for piece in pieces for passage in _xml_passages(piece)]
    return "\n".join(dict.fromkeys(pieces))


# XML as lenient as can be: whatever is left open ends with the text, and a stray "<" begins a tag.
_XML_PART = re.compile(
    r"<!--(.*?)(?:-->|\Z)"
    r"|<!\[CDATA\[(.*?)(?:\]\]>|\Z)"
    r"""|<((?:[^<>=]+|=(?:\s*(?:"[^"<]*"?|'[^'<]*'?))?)*)>?"""  # a tag, a declaration or a processing instruction
    r"|([^<]+)",
    re.DOTALL,
)
#: The names in a tag, those of attributes with their values.
_XML_NAME = re.compile(r"""^[^\s="']*|\s[^\s=]+\s*=\s*(?:"([^"]*)"?|'([^']*)'?)""")
_XML_ENTITY = re.compile(r"&(?:(lt|gt|amp|quot|apos)|#0*([0-9]{1,7})|#[xX]0*([0-9A-Fa-f]{1,6}));")
_ADDRESS_OR_GUID = re.compile(r"://|[0-9A-Fa-f-]{16}")


def _xml_passages(xml: str) -> Iterator[str]:
    """Yield everything in XML but names, addresses and single words; each passage on one line.

    A passage is a text, an attribute's value, a comment, or what a tag holds beside attributes, as processing
    instructions do. The XML may begin and end anywhere.
    """
    for match in _XML_PART.finditer(xml):
        comment, cdata, tag, text = match.groups()
        for part in _XML_NAME.split(tag) if tag else (comment or cdata or text,):
            if not part or len(part) < 2:  # nothing said, as between most tags
                continue
            passage = " ".join(_XML_ENTITY.sub(_character, part).split())
            if _words(passage) >= 2 and (" " in passage or not _ADDRESS_OR_GUID.search(passage)):
                yield passage


def _character(entity: re.Match[str]) -> str:
    name, decimal, hexadecimal = entity.groups()
    if name:
        return {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}[name]
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if 0 < code < 0xD800 or 0xE000 <= code < 0x110000 else entity.group()


def _low_bit_text(pixels: Pixels, limits: Limits) -> list[MetadataText]:
    """Text in the lowest bit of the samples, in the orders that hiding tools use."""
    found = (text for _, text in _core.signal.low_bit_text(pixels))
    return [MetadataText("pixels:low_bits", t[: limits.text]) for t in found if any(_readable(t.encode("ascii")))]


_WORD = re.compile(r"[^\W\d_²³¹¼-¾]{2,}")
_IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def _words(passage: str) -> float:
    return len(_WORD.findall(passage)) + len(_IDEOGRAPH.findall(passage)) / 2


def _word_count(text: str) -> float:
    """Words of the longest line."""
    return max(map(_words, text.splitlines()), default=0.0)


def _metadata_finding(texts: list[MetadataText]) -> list[Finding]:
    """Score how much of an instruction the metadata can carry.

    1 - exp(-(words / 14)²) of the longest passage: the strings of cameras, editors and standard colour profiles have
    up to 8 words (0.28; "Reference Viewing Condition in IEC 61966-2-1" has 5), an order with its object 15 and more.
    """
    if not texts:
        return []
    longest = max(texts, key=lambda text: _word_count(text.text))
    words = _word_count(longest.text)
    score = 1 - math.exp(-((words / 14) ** 2))
    why = f"Readable text lies beside the pixels ({longest.carrier}, up to {round(words)} words in one passage)."
    carriers = sorted({text.carrier for text in texts})
    return [_finding("metadata_text", score, why, carriers=carriers, characters=sum(len(t.text) for t in texts))]


def _thumbnail(data: bytes, report: Any, deadline: float, findings: list[Finding]) -> npt.NDArray[np.uint8] | None:
    kind = report.thumbnail
    if kind == "none":
        return None
    payload = data[report.thumbnail_offset : report.thumbnail_offset + report.thumbnail_length]
    shape = (report.thumbnail_height, report.thumbnail_width)
    try:
        if kind == "rgb":
            return np.frombuffer(payload, np.uint8).reshape(*shape, 3)
        if kind == "palette":
            table = np.frombuffer(payload[:768], np.uint8).reshape(256, 3)
            return table[np.frombuffer(payload[768:], np.uint8).reshape(shape)]
        # Previews of cameras have up to 1620x1080 pixels.
        inner = _walk(payload, Limits(pixels=4_000_000, formats=("jpeg",)))
        image = _load(_needed_bytes(payload, inner), "jpeg", deadline)
        return _colour(_guarded(lambda: _expand(image, 8), "jpeg")[0], None, 0, findings)[0]
    except ImageError as error:
        why = "The embedded preview is damaged; it was dropped."
        findings.append(_finding("malformed", 0.2, why, part="thumbnail", error=str(error)[:200]))
        return None


# ---- preflight findings ----------------------------------------------------------------------------------------------


def _finding(kind: str, score: float, why: str, **detail: Any) -> Finding:
    return Finding(kind=kind, score=min(max(score, 0.0), 1.0), why=why, detector=_DETECTOR, detail=detail)


def _type_mismatch(claimed: str | None, actual: str) -> list[Finding]:
    """0.5 when another image format was claimed (common on the web), 1 when something else than an image was."""
    if not claimed:
        return []
    claim = claimed.lower().split(";")[0].strip()
    if re.fullmatch(r"[a-z]+/[\w.+*-]+", claim) and claim.split("/")[0] in (
        "image",
        "application",
        "text",
        "video",
        "audio",
    ):
        claim = claim.split("/", 1)[1]
    else:
        name = re.split(r"[/\\]", claim)[-1]
        claim = name.rpartition(".")[2] if "." in name else (name if name in _SUFFIXES else "")
    if claim in _VAGUE or _SUFFIXES.get(claim) == actual:
        return []
    score = 0.5 if claim in _SUFFIXES else 1.0
    return [
        _finding(
            "type_mismatch",
            score,
            f"The file was named {claim[:20]!r} but is {actual}.",
            claimed=claim[:20],
            actual=actual,
        )
    ]


_MAGIC = (
    ("zip", b"PK\x03\x04"), ("zip", b"PK\x05\x06"), ("pdf", b"%PDF-"), ("html", b"<html"), ("html", b"<!doctype"),
    ("script", b"<script"), ("php", b"<?php"), ("elf", b"\x7fELF"), ("rar", b"Rar!\x1a"), ("7z", b"7z\xbc\xaf"),
    ("png", b"\x89PNG\r\n"), ("gif", b"GIF8"), ("shell", b"#!/"), ("svg", b"<svg"),
)  # fmt: skip


def _trailing(data: bytes, report: Any) -> list[Finding]:
    """0.05 padding, 0.2 pictures the file itself declares (phones do), 0.5 unknown bytes, 0.9 another file's magic."""
    count = len(data) - report.end
    if count <= 0:
        return []
    head = data[report.end : report.end + 65536]
    if not head.strip(b"\0 \r\n\t\xff") and not data[-65536:][-count:].strip(b"\0 \r\n\t\xff"):
        score, what = 0.05, "padding"
    else:
        ends = head.lower() + data[-65536:][-count:].lower()
        magic = next((name for name, mark in _MAGIC if mark.lower() in ends), None)
        if magic:
            score, what = 0.9, magic
        elif report.multi_picture:
            score, what = 0.2, "further pictures"
        else:
            score, what = 0.5, "unknown"
    why = f"{count} bytes follow the end of the image ({what}); they were dropped."
    return [_finding("trailing_data", score, why, bytes=count, looks_like=what)]


# ---- objects in memory → Image ---------------------------------------------------------------------------------------


def from_pil(image: PILImage.Image, limits: Limits | None = None) -> Image:
    """Take the first frame of a PIL image, loading it when that has not happened yet.

    Args:
        image: Any mode but `I` and `F`, which state no range. Its EXIF orientation and ICC profile are applied.
        limits: `pixels`, `side` and `text` are checked before the pixels are loaded.

    Raises:
        UnsupportedInput: Not a PIL image, or without pixels.
        LimitExceeded: Larger than the limits.
        MalformedImage: Pillow could not load it.
    """
    from PIL import Image as pil

    limits = limits or Limits()
    if not isinstance(image, pil.Image):
        raise UnsupportedInput(f"image: expected a PIL image, got {type(image).__name__}")
    width, height = image.size
    if width < 1 or height < 1:
        raise UnsupportedInput(f"image: has no pixels ({width}x{height})")
    _check_size(height, width, limits)
    findings: list[Finding] = []

    def load() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = int(getattr(image, "n_frames", 1) or 1)
            first = image
            if frames > 1 and image.tell() != 0:
                first = image.copy()  # the caller chose this frame
            first.load()
            orientation = first.getexif().get(0x0112, 1) if first.info.get("exif") else 1
            return _expand(first, 8), orientation, frames

    (array, alpha, _), orientation, frames = _guarded(load, "PIL")
    orientation = orientation if orientation in range(1, 9) else 1
    profile = image.info.get("icc_profile")
    pixels, _ = _colour(array, profile if isinstance(profile, bytes) else None, 0, findings)
    texts = []
    for key, value in image.info.items():
        pieces = _readable(value[: limits.ancillary]) if isinstance(value, bytes) else [value]
        text = _join_texts(piece for piece in pieces if isinstance(piece, str))
        if text:
            texts.append(MetadataText(f"pil:{str(key)[:40]}", text[: limits.text]))
    pixels = _orient(pixels, orientation)
    texts += _low_bit_text(pixels, limits)
    findings += _metadata_finding(texts)
    if frames > 1:
        why = f"The image holds {frames} frames; only the current one is checked and handed out."
        findings.append(_finding("extra_frames", 1 - 1 / frames, why, frames=frames))
    return Image(
        pixels=_frozen(np.array(pixels)),
        alpha=_opaque_to_none(None if alpha is None else _orient(alpha, orientation)),
        frames=frames,
        metadata=tuple(texts),
        findings=tuple(findings),
        rewritten=True,
    )


def from_array(
    array: Any, limits: Limits | None = None, *, value_range: tuple[float, float] | None = None, name: str = "image"
) -> Image:
    """Copy an array of samples: HxW, HxWx1, HxWx3 (RGB) or HxWx4 (RGBA, straight alpha).

    Args:
        array: numpy array, or anything with `__dlpack__`, `__array_interface__` or `__array__`. uint8 and bool need no
            range; every other number type does. Strided and read-only arrays are welcome.
        limits: `pixels` and `side` are checked.
        value_range: (black, white) of a type other than uint8, e.g. `(0, 1)` for floats or `(0, 65535)` for uint16.
        name: The argument's name in error messages.

    Raises:
        UnsupportedInput: Shape, dtype, byte order or values that are not accepted; the message names the remedy.
        LimitExceeded: Larger than the limits.
    """
    limits = limits or Limits()
    array = _as_array(array, name)
    if array.size == 0 or array.ndim == 0:
        raise UnsupportedInput(f"{name}: has shape {array.shape} and so no pixels; pass HxW, HxWx3 or HxWx4")
    if array.size > _MAX_ELEMENTS:
        raise UnsupportedInput(
            f"{name}: has {array.size} elements, at most {_MAX_ELEMENTS} are accepted; scale it down first"
        )
    if array.ndim == 4 and array.shape[0] == 1:
        raise UnsupportedInput(f"{name}: has shape {array.shape}; pass one picture at a time, {name}[0]")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        remedy = "pass HxW, HxWx3 or HxWx4"
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            remedy = "move the channels last with .transpose(1, 2, 0)"
        raise UnsupportedInput(f"{name}: has shape {array.shape}; {remedy}")
    _check_size(array.shape[0], array.shape[1], limits)
    samples = _to_uint8(array, value_range, name)
    alpha = None
    if samples.ndim == 2 or samples.shape[2] == 1:
        samples = np.repeat(samples.reshape(*samples.shape[:2], 1), 3, axis=2)
    elif samples.shape[2] == 4:
        samples, alpha = samples[..., :3], _opaque_to_none(samples[..., 3])
    pixels = _frozen(samples)
    texts = _low_bit_text(pixels, limits)
    return Image(
        pixels=pixels,
        alpha=alpha,
        metadata=tuple(texts),
        findings=tuple(_metadata_finding(texts)),
        rewritten=array.dtype != np.uint8,
    )


def _opaque_to_none(alpha: npt.NDArray[np.uint8] | None) -> Pixels | None:
    return None if alpha is None or bool((alpha == 255).all()) else _frozen(np.array(alpha))


def _check_size(height: int, width: int, limits: Limits) -> None:
    if max(height, width) > limits.side:
        raise LimitExceeded(f"The picture is {width}x{height}, the limit of a side is {limits.side}.")
    if height * width > limits.pixels:
        raise LimitExceeded(f"The picture is {width}x{height}, the limit is {limits.pixels} pixels.")


def _as_array(value: Any, name: str) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        if hasattr(value, "__array_interface__") or hasattr(value, "__array__"):
            return np.asarray(value)
    except Exception as error:
        remedy = "pass a CPU tensor without gradient, e.g. tensor.detach().cpu()"
        raise UnsupportedInput(
            f"{name}: {type(value).__name__} cannot be read as an array ({error}); {remedy}"
        ) from error
    raise UnsupportedInput(f"{name}: expected an array, got {type(value).__name__}")


def _to_uint8(array: npt.NDArray[Any], value_range: tuple[float, float] | None, name: str) -> npt.NDArray[np.uint8]:
    """Return a fresh uint8 copy."""
    dtype = array.dtype
    if dtype == np.uint8:
        return np.array(array, order="C")
    if dtype == np.bool_:
        return np.asarray(array.astype(np.uint8) * np.uint8(255))
    if dtype.kind not in "iuf":
        raise UnsupportedInput(f"{name}: dtype is {dtype}; convert it to uint8 first")
    if not dtype.isnative:
        raise UnsupportedInput(
            f"{name}: byte order is not this machine's; use {name}.astype({name}.dtype.newbyteorder('='))"
        )
    if value_range is None:
        raise UnsupportedInput(
            f"{name}: dtype is {dtype} and its range is not stated; pass value_range=(black, white), e.g. (0, 1)"
        )
    low, high = float(value_range[0]), float(value_range[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UnsupportedInput(f"value_range: expected (black, white) with black < white, got {value_range!r}")
    values = array.astype(np.float64 if dtype.itemsize > 4 else np.float32)
    if not np.isfinite(values).all():
        raise UnsupportedInput(f"{name}: holds NaN or infinity; replace them, e.g. with numpy.nan_to_num")
    smallest, largest = float(values.min()), float(values.max())
    if smallest < low or largest > high:
        raise UnsupportedInput(
            f"{name}: values span {smallest:g}..{largest:g}, outside {value_range!r}; clip them or state the true range"
        )
    return np.rint((values - low) * (255 / (high - low))).astype(np.uint8)


# ---- pixels → bytes --------------------------------------------------------------------------------------------------


def to_pil(pixels: Pixels) -> PILImage.Image:
    """Return a new PIL image (mode RGB, or L for HxW) without any metadata."""
    from PIL import Image as pil

    return pil.fromarray(np.ascontiguousarray(pixels))


def encode(pixels: Pixels, format: str = "png", *, quality: int = 95, threads: int = 0) -> bytes:
    """Encode pixels as a fresh file that holds nothing but them.

    Args:
        pixels: uint8 HxWx3 or HxW.
        format: `"png"` (exact), `"jpeg"` or `"webp"` (lossy unless quality is 100).
        quality: 1-100 for JPEG and WebP. From 90 on, JPEG keeps full colour resolution, which coloured text needs.
        threads: Native threads that make a PNG, whose bytes do not depend on them; 0 for one on each CPU.

    Raises:
        InputError: An unknown format or quality.
    """
    name = {"jpg": "jpeg"}.get(format.lower(), format.lower())
    if name not in ("png", "jpeg", "webp"):
        raise UnsupportedInput(f"format: expected 'png', 'jpeg' or 'webp', got {format!r}")
    if not 1 <= quality <= 100:
        raise UnsupportedInput(f"quality: expected 1 to 100, got {quality!r}")
    if name == "png":  # Pillow takes four times as long for the same size (benchmarks/results/batch.json)
        return _core.png.encode(pixels, threads=threads)
    out = io.BytesIO()
    image = to_pil(pixels)
    try:
        if name == "jpeg":
            image.save(out, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
        else:
            image.save(out, "WEBP", quality=quality, lossless=quality == 100)
    except (OSError, ValueError) as error:  # a side that the format cannot express
        raise InputError(f"format: the picture cannot be written as {name} ({error}); use 'png'") from error
    return out.getvalue()
