"""What the model will see: the preprocessing of known multimodal models, as views of the original.

A scaling attack, a thin line of text or an alpha trick shows in one preprocessing and not in another, so detectors look
at the picture through the eyes of the model that is named by the policy's profiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from . import _core
from .errors import UnsupportedInput
from .types import Image, Pixels, View, Views

#: CLIP's mean colour, which LLaVA-style square padding uses.
_CLIP_MEAN = (122, 116, 104)


@dataclass(frozen=True)
class Profile:
    """How a model resizes a picture before it looks.

    Attributes:
        geometry: `crop` (shortest edge to `size`, then the centre square), `stretch` (to a square), `pad` (onto a
            square of `pad`, then resized), `fit` (longest edge to at most `size`), `smart` (Qwen2-VL's rounding of both
            sides to multiples of 28 between a smallest and a largest number of pixels), `none`.
        size: Target edge in pixels.
        kernel: `nearest`, `bilinear`, `bicubic`, `lanczos` or `area`.
        antialias: True where the kernel widens with the ratio (Pillow, torchvision); False where it always reads the
            same few pixels (OpenCV, llama.cpp), which is what scaling attacks exploit.
        pad: RGB of the padding.
        source: Where this preprocessing is defined.
    """

    geometry: str
    size: int
    kernel: str
    antialias: bool
    source: str
    pad: tuple[int, int, int] = (0, 0, 0)


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "clip-224": Profile("crop", 224, "bicubic", True, "transformers CLIPImageProcessor, openai/clip-vit-base"),
        "clip-336": Profile("crop", 336, "bicubic", True, "transformers CLIPImageProcessor, LLaVA-1.5"),
        "llava-pad-336": Profile("pad", 336, "bicubic", True, "LLaVA-1.5, image_aspect_ratio=pad", _CLIP_MEAN),
        "siglip-384": Profile("stretch", 384, "bicubic", True, "transformers SiglipImageProcessor, so400m-patch14-384"),
        "gemma3-896": Profile("stretch", 896, "bilinear", True, "transformers Gemma3ImageProcessor"),
        "internvl-448": Profile("stretch", 448, "bicubic", True, "InternVL2 thumbnail tile"),
        "smolvlm-512": Profile("stretch", 512, "lanczos", True, "transformers SmolVLM global image"),
        "qwen2-vl": Profile("smart", 0, "bicubic", True, "transformers Qwen2VLImageProcessor smart_resize"),
        "llama.cpp": Profile("pad", 336, "bilinear", False, "llama.cpp clip.cpp, LLaVA-1.5 projector", _CLIP_MEAN),
        "opencv-224": Profile("stretch", 224, "bilinear", False, "cv2.resize default, 224"),
        "opencv-336": Profile("stretch", 336, "bilinear", False, "cv2.resize default, 336"),
        "nearest-336": Profile("stretch", 336, "nearest", False, "nearest neighbour, the worst case"),
        "generic": Profile("fit", 512, "bilinear", False, "longest edge 512, plain bilinear"),
    }
)

#: Of a picture longer than this many times its short side, `crop` resizes the middle alone.
_LONGEST = 8
#: `pad` makes a square of at most this many pixels, or twice those of the picture if that is more.
_SQUARE = 4096**2

#: Views that are not a model's: made only when asked for by name.
EXTRA = ("original", "contrast")


def profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        UnsupportedInput: there is no such profile.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UnsupportedInput(f"unknown profile {name!r}; known: {', '.join(PROFILES)}") from None


def build(
    image: Image, names: Sequence[str], background: tuple[int, int, int] = (255, 255, 255), threads: int = 1
) -> Views:
    """Make the original and everything a model might see of it.

    Args:
        image: The decoded picture.
        names: Profiles to look through (`"contrast"` is allowed too: local contrast at the original's size).
        background: RGB under transparent pixels.
        threads: Native threads.

    Returns:
        Views with `original` (alpha composited over `background`), `over_black` and `over_white` where the picture has
        alpha, and one view for each name.

    Raises:
        UnsupportedInput: an unknown name.
    """
    pixels, alpha = image.pixels, image.alpha
    height, width = pixels.shape[:2]
    looks = {name: _look(name, height, width) for name in names if name not in EXTRA}
    requests: dict[str, tuple[object, ...]] = {}
    if alpha is not None:
        over = {"original": background, "over_black": (0, 0, 0), "over_white": (255, 255, 255)}
        requests |= {name: ("over", colour) for name, colour in over.items()}
    requests |= {name: look.request for name, look in looks.items() if look.window is None}
    if "contrast" in names:
        requests["contrast"] = ("contrast",)
    made = _core.views.build(pixels, list(requests.values()), alpha=alpha, background=background, threads=threads)
    seen = dict(zip(requests, made, strict=True))
    original = seen.pop("original", pixels)
    for name, look in looks.items():
        if look.window is not None:
            part = _window(original, look.window, PROFILES[name].pad)
            seen[name] = _core.views.build(part, [look.request], threads=threads)[0]
    items = {"original": View("original", _frozen(original))}
    for name, view in seen.items():
        look = looks.get(name, _AS_IT_IS)
        items[name] = View(name, _frozen(view[look.crop]), look.scale, look.offset)
    return Views(image, MappingProxyType(items))


@dataclass(frozen=True)
class _Look:
    """One profile's native request for a picture of a known size, and how its pixels map back.

    `window` (top, left, height, width; it may reach over the edge, where the profile's `pad` colour is) is resized in
    place of the whole picture when it is not None.
    """

    request: tuple[object, ...] = ()
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    crop: tuple[slice, slice] = (slice(None), slice(None))
    window: tuple[int, int, int, int] | None = None


_AS_IT_IS = _Look()


def _look(name: str, height: int, width: int) -> _Look:
    p = profile(name)

    def to(new_h: int, new_w: int) -> tuple[object, ...]:
        return ("resize", p.kernel, p.antialias, new_h, new_w)

    if p.geometry == "crop":
        # torchvision and transformers truncate the longer edge. Of a very long picture only the middle is resized:
        # the crop shows nothing else, and the whole would take gigabytes.
        short = min(height, width)
        h, w = min(height, _LONGEST * short), min(width, _LONGEST * short)
        window = None if (h, w) == (height, width) else ((height - h) // 2, (width - w) // 2, h, w)
        top0, left0 = window[:2] if window else (0, 0)
        new_h, new_w = (p.size * h) // short, (p.size * w) // short
        top, left = (new_h - p.size) // 2, (new_w - p.size) // 2
        sx, sy = w / new_w, h / new_h
        crop = (slice(top, top + p.size), slice(left, left + p.size))
        return _Look(to(new_h, new_w), (sx, sy), (left0 + left * sx, top0 + top * sy), crop, window)
    if p.geometry == "pad":
        side = min(max(height, width), math.isqrt(max(_SQUARE, 2 * height * width)))
        top, left = -((side - height) // 2), -((side - width) // 2)
        scale = side / p.size
        return _Look(to(p.size, p.size), (scale, scale), (float(left), float(top)), window=(top, left, side, side))
    if p.geometry == "stretch":
        new_h = new_w = p.size
    elif p.geometry == "fit":
        ratio = min(1.0, p.size / max(height, width))
        new_h, new_w = max(1, round(height * ratio)), max(1, round(width * ratio))
    else:
        new_h, new_w = smart_resize(height, width)
    return _Look(to(new_h, new_w), (width / new_w, height / new_h))


def _window(pixels: Pixels, window: tuple[int, int, int, int], pad: tuple[int, int, int]) -> Pixels:
    """Return the window of the picture, `pad` where it reaches over the edge."""
    top, left, height, width = window
    out = np.empty((height, width, 3), np.uint8)
    out[:] = pad
    y0, x0 = max(top, 0), max(left, 0)
    part = pixels[y0 : top + height, x0 : left + width]
    out[y0 - top : y0 - top + part.shape[0], x0 - left : x0 - left + part.shape[1]] = part
    return out


def smart_resize(
    height: int, width: int, factor: int = 28, least: int = 56 * 56, most: int = 28 * 28 * 1280
) -> tuple[int, int]:
    """Return Qwen2-VL's target (height, width): multiples of `factor`, with between `least` and `most` pixels.

    The published function refuses pictures more than 200 times as long as wide; here they are simply clamped.
    """
    new_h, new_w = max(factor, round(height / factor) * factor), max(factor, round(width / factor) * factor)
    if new_h * new_w > most:
        beta = math.sqrt(height * width / most)
        new_h = max(factor, math.floor(height / beta / factor) * factor)
        new_w = max(factor, math.floor(width / beta / factor) * factor)
    elif new_h * new_w < least:
        beta = math.sqrt(least / (height * width))
        new_h, new_w = math.ceil(height * beta / factor) * factor, math.ceil(width * beta / factor) * factor
    return new_h, new_w


#: Pictures laid side by side, and how far the next group reaches back, so that no neighbours are parted.
_GROUP, _OVERLAP = 6, 3
#: Common edge of pictures laid side by side: the text map's own tile.
_EDGE = 640


def together(pictures: Sequence[Pixels], threads: int = 1) -> list[tuple[str, Views]]:
    """Lay pictures under and beside each other without a gap, as a model reads the pictures of one request.

    A payload cut into strips is whole again in one of the two layouts.

    Args:
        pictures: uint8 HxWx3 each, in the order of the request.
        threads: Native threads.

    Returns:
        (`"column"` or `"row"`, views that hold the `original` alone) for each group of six neighbours; empty for fewer
        than two pictures.
    """
    laid = []
    for start in range(0, max(1, len(pictures) - _OVERLAP), _GROUP - _OVERLAP):
        group = pictures[start : start + _GROUP]
        if len(group) < 2:
            break
        for layout, axis in (("column", 0), ("row", 1)):
            edge = min(_EDGE, max(p.shape[1 - axis] for p in group))
            pixels = np.concatenate([_to_edge(p, edge, 1 - axis, threads) for p in group], axis=axis)
            laid.append((layout, build(Image(_frozen(np.ascontiguousarray(pixels))), (), threads=threads)))
    return laid


def _to_edge(pixels: Pixels, edge: int, axis: int, threads: int) -> Pixels:
    """Resize so that one axis has `edge` pixels; the other keeps the aspect, up to four times as long."""
    other = min(4 * edge, max(1, round(pixels.shape[1 - axis] * edge / pixels.shape[axis])))
    height, width = (other, edge) if axis == 1 else (edge, other)
    if pixels.shape[:2] == (height, width):
        return pixels
    resized: Pixels = _core.views.resize(pixels, height, width, "bilinear", antialias=True, threads=threads)
    return resized


def _frozen(pixels: Pixels) -> Pixels:
    pixels = np.ascontiguousarray(pixels)
    pixels.flags.writeable = False
    return pixels
