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


def build(image: Image, names: Sequence[str], background: tuple[int, int, int] = (255, 255, 255), threads: int = 1) -> Views:
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
    for name in names:
        if name not in EXTRA:
            profile(name)
    with_alpha = image.alpha is not None
    original = image.pixels
    items: dict[str, View] = {}
    if with_alpha:
        over = {
            "original": background,
            "over_black": (0, 0, 0),
            "over_white": (255, 255, 255),
        }
        for name, colour in over.items():
            items[name] = View(name, _frozen(_core.views.composite(image.pixels, image.alpha, colour, threads=threads)))
        original = items["original"].pixels
    else:
        items["original"] = View("original", original)
    for name in names:
        if name == "contrast":
            items[name] = View(name, _frozen(_core.views.local_contrast(original, threads=threads)))
        elif name != "original":
            items[name] = _look(original, name, PROFILES[name], threads)
    return Views(image, MappingProxyType(items))


def _look(original: Pixels, name: str, p: Profile, threads: int) -> View:
    height, width = original.shape[:2]
    if p.geometry == "crop":
        scale = p.size / min(height, width)
        # torchvision and transformers truncate the longer edge.
        new_h, new_w = (p.size, max(p.size, int(p.size * width / height))) if height <= width else (max(p.size, int(p.size * height / width)), p.size)
        resized = _resize(original, new_h, new_w, p, threads)
        top, left = (new_h - p.size) // 2, (new_w - p.size) // 2
        pixels = np.ascontiguousarray(resized[top : top + p.size, left : left + p.size])
        sx, sy = width / new_w, height / new_h
        return View(name, _frozen(pixels), (sx, sy), (left * sx, top * sy))
    if p.geometry == "pad":
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = np.empty((side, side, 3), np.uint8)
        square[:] = p.pad
        square[top : top + height, left : left + width] = original
        scale = side / p.size
        return View(name, _frozen(_resize(square, p.size, p.size, p, threads)), (scale, scale), (-left, -top))
    if p.geometry == "stretch":
        new_h = new_w = p.size
    elif p.geometry == "fit":
        ratio = min(1.0, p.size / max(height, width))
        new_h, new_w = max(1, round(height * ratio)), max(1, round(width * ratio))
    else:
        new_h, new_w = smart_resize(height, width)
    return View(name, _frozen(_resize(original, new_h, new_w, p, threads)), (width / new_w, height / new_h))


def _resize(pixels: Pixels, height: int, width: int, p: Profile, threads: int) -> Pixels:
    if pixels.shape[:2] == (height, width):
        return pixels
    resized: Pixels = _core.views.resize(pixels, height, width, p.kernel, antialias=p.antialias, threads=threads)
    return resized


def smart_resize(height: int, width: int, factor: int = 28, least: int = 56 * 56, most: int = 28 * 28 * 1280) -> tuple[int, int]:
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


def _frozen(pixels: Pixels) -> Pixels:
    pixels.flags.writeable = False
    return pixels
