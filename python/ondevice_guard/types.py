"""The frozen values that walk down the corridor: Image → Views → Finding → Plan.

This module imports nothing of ours, so that every room may import it. Pixels are always uint8, HxWx3, sRGB,
C-contiguous and read-only; coordinates are (x, y) in pixels with (0, 0) at the top-left corner of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_T = TypeVar("_T")
Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]

#: Every kind of finding, with the stage that makes it. A detector may only return kinds listed here.
KINDS: Mapping[str, str] = MappingProxyType(
    {
        "malformed": "decode",
        "type_mismatch": "decode",
        "trailing_data": "decode",
        "metadata_text": "decode",
        "thumbnail_mismatch": "structural",
        "extra_frames": "decode",
        "alpha_divergence": "structural",
        "scaling": "structural",
        "adversarial": "adversarial",
        "typographic": "typographic",
        "overlay_text": "typographic",
        "hidden_text": "typographic",
        "qr_code": "typographic",
        "unsafe_content": "content",
        "injection": "text",
        "jailbreak": "text",
        "harmful": "text",
        "obfuscation": "text",
        "delegation": "crossmodal",
        "split_payload": "crossmodal",
        "harmful_response": "response",
        "canary_leak": "response",
        "unrequested_action": "response",
    }
)


class Decision(str, Enum):
    """What the policy decided. ALLOW and SANITIZED are safe to send; BLOCK and ERROR are not."""

    ALLOW = "ALLOW"
    SANITIZED = "SANITIZED"
    BLOCK = "BLOCK"
    ERROR = "ERROR"

    def __str__(self) -> str:
        return self.value


def box(x0: float, y0: float, x1: float, y1: float) -> Quad:
    """Return the axis-aligned rectangle as a quadrilateral, clockwise from the top-left corner."""
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of evidence.

    Attributes:
        kind: A key of `KINDS`.
        score: In [0, 1]; a calibrated probability where a model made it. Detectors report low scores too.
        why: One sentence a user understands.
        detector: Name of the detector (and of the model version, where there is one).
        regions: Quadrilaterals in the original image's pixels, clockwise from top-left.
        view: Name of the view in which it was seen (`"original"` for the picture itself).
        span: Character range [start, end) for a finding in text.
        detail: JSON-able facts for logs and reports; never the text that was found in an image.
    """

    kind: str
    score: float
    why: str
    detector: str
    regions: tuple[Quad, ...] = ()
    view: str = "original"
    span: tuple[int, int] | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown finding kind {self.kind!r}")
        if not 0.0 <= self.score <= 1.0:  # NaN fails as well
            raise ValueError(f"score of {self.kind} must be in [0, 1], got {self.score!r}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able dict."""
        return {
            "kind": self.kind,
            "score": round(float(self.score), 6),
            "why": self.why,
            "detector": self.detector,
            "regions": [[[round(float(x), 2), round(float(y), 2)] for x, y in quad] for quad in self.regions],
            "view": self.view,
            "span": list(self.span) if self.span else None,
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may cost before it is refused. The defaults hold the peak of a check below about 700 MB.

    Attributes:
        bytes: Size of the file.
        pixels: Width times height. Every stage together holds at most 16 bytes a pixel, so 40 MP are 640 MB.
        side: Width, height.
        frames: Frames or pages the file may declare (only the first is decoded).
        scans: Progressive scans of a JPEG; libjpeg's own script has 10.
        ancillary: Bytes of metadata that are read or inflated, all carriers together.
        text: Characters kept of one metadata string.
        seconds: Wall time of one decode, checked whenever the decoder asks for more input.
        formats: Formats that are decoded; `"tiff"` and `"avif"` have to be asked for.
    """

    bytes: int = 64 << 20
    pixels: int = 40_000_000
    side: int = 32_768
    frames: int = 4_096
    scans: int = 100
    ancillary: int = 8 << 20
    text: int = 16_384
    seconds: float = 10.0
    formats: tuple[str, ...] = ("png", "jpeg", "webp", "gif", "bmp")


@dataclass(frozen=True, slots=True)
class MetadataText:
    """A readable string carried beside the pixels.

    Attributes:
        carrier: Where it was, e.g. `"png:tEXt"`, `"jpeg:EXIF"`, `"gif:comment"`, `"pixels:low_bits"`.
        text: The string, cut at the policy's limit.
    """

    carrier: str
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A decoded picture, before any view is made of it.

    Attributes:
        pixels: uint8 HxWx3 sRGB, read-only, orientation applied, alpha NOT applied.
        alpha: uint8 HxW, read-only; None when the image is fully opaque.
        format: `"png"`, `"jpeg"`, `"webp"`, `"gif"`, `"bmp"`, `"tiff"`, `"avif"`, or `"array"`.
        frames: Frames the container holds (the pixels are those of one).
        thumbnail: Embedded preview, decoded, uint8 hxwx3; None when there is none.
        metadata: Every readable string found beside the pixels.
        findings: What preflight saw (`malformed`, `type_mismatch`, `trailing_data`, `metadata_text`, `extra_frames`).
        rewritten: True when decoding already changed the pixels' meaning (ICC or gamma conversion, orientation,
            palette expansion, 16 → 8 bit), so that the container's bytes no longer describe `pixels` one to one.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    format: str = "array"
    frames: int = 1
    thumbnail: Pixels | None = None
    metadata: tuple[MetadataText, ...] = ()
    findings: tuple[Finding, ...] = ()
    rewritten: bool = False

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True, slots=True)
class View:
    """A picture some model might see in place of the original.

    Attributes:
        name: `"original"`, `"over_white"`, `"over_black"`, `"contrast"`, or a profile name such as `"clip-336"`.
        pixels: uint8 hxwx3, read-only.
        scale: (sx, sy): original = view * scale + offset, for both axes.
        offset: (ox, oy) in the original's pixels (a centre crop starts inside the picture).
    """

    name: str
    pixels: Pixels
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def to_original(self, quad: Quad) -> Quad:
        """Map a quadrilateral from this view's pixels to the original's."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        a, b, c, d = ((x * sx + ox, y * sy + oy) for x, y in quad)
        return (a, b, c, d)


@dataclass(frozen=True, slots=True)
class Views:
    """The original (alpha composited over the policy's background) and everything derived from it, made once.

    Attributes:
        image: The decoded image that was looked at.
        items: name → View; always holds `"original"`.
    """

    image: Image
    items: Mapping[str, View]
    _measured: dict[tuple[object, int], Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def measured(self, measure: Callable[..., _T], pixels: Pixels, threads: int = 1) -> _T:
        """Return `measure(pixels, threads=threads)`, computed once for all detectors that ask for it.

        Args:
            measure: A function of pixels alone.
            pixels: Pixels of this picture or of one of its views.
            threads: Native threads.
        """
        key = (measure, id(pixels))  # the views keep their pixels alive as long as themselves
        if key not in self._measured:
            self._measured[key] = measure(pixels, threads=threads)
        return self._measured[key]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> View:
        return self.items[name]

    def __contains__(self, name: object) -> bool:
        return name in self.items

    @property
    def original(self) -> View:
        """The view that covers the whole picture at its own size."""
        return self.items["original"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What sanitize must do to the pixels; made by the policy, empty for a clean picture.

    Attributes:
        fill: Regions to redact, in the original's pixels.
        fill_method: `"inpaint"`, `"blur"` or `"box"`.
        purify: Preset for `purify` (`"fast"`, `"balanced"`, `"strong"`, `"randomized"`), or None.
        descale: True to replace the pixels a down-scaling model would single out (defence against scaling attacks).
        reset_low_bits: How many low bits of every sample to overwrite (0 = none).
        background: Colour to lay under transparent pixels in place of the policy's, or None.
    """

    fill: tuple[Quad, ...] = ()
    fill_method: str = "inpaint"
    purify: str | None = None
    descale: bool = False
    reset_low_bits: int = 0
    background: tuple[int, int, int] | None = None

    def __bool__(self) -> bool:
        return self.remakes or bool(self.fill or self.purify or self.reset_low_bits)

    @property
    def remade(self) -> tuple[bool, tuple[int, int, int] | None]:
        """What makes another picture of it before anything in it is redacted: `descale` and `background`."""
        return self.descale, self.background

    @property
    def remakes(self) -> bool:
        """True when the picture becomes another one, so that it must be looked at again."""
        return self.remade != (False, None)


@runtime_checkable
class Detector(Protocol):
    """Anything that turns views into scores.

    Detectors keep no state between calls, and never compare a score with a threshold.
    """

    name: str
    kinds: tuple[str, ...]

    def __call__(self, views: Views) -> Sequence[Finding]:
        """Return findings, low scores included; a kind of `kinds` that is absent counts as score 0."""
        ...


@runtime_checkable
class TextDetector(Protocol):
    """Anything that turns a string into scores."""

    name: str
    kinds: tuple[str, ...]

    def __call__(self, text: str) -> Sequence[Finding]:
        """Return findings with `span`, low scores included."""
        ...
