"""Render a paragraph into the line crops that the text map would hand over: grey, 32 px high, imperfectly cut.

Chain of one line: glyphs → opacity, outline, box or shadow → blended over a photo, a gradient or a flat page at the
size it has in the picture, in whole grey levels → blur, noise, JPEG → cut out with an error of up to a fifth at every
side, a little skew, scaled to 32 px. `normalise` is the reader's own preprocessing (the same function ships).
"""

from __future__ import annotations

import functools
import random
import unicodedata
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageFont

HEIGHT = 32
GAP = 0
CLASSES = [
    "gap",
    *"abcdefghijklmnopqrstuvwxyz0123456789",
    "dot",
    "comma",
    "colon",
    "mark",
    "quote",
    "bracket",
    "dash",
    "slash",
    "symbol",
    "cyrillic",
    "greek",
    "han",
    "kana",
    "hangul",
    "arabic",
    "hebrew",
    "indic",
    "thai",
    "other",
    "flipped",
]
SCRIPTS = ("none", "latin", "cyrillic", "greek", "han", "kana", "hangul", "arabic", "hebrew", "indic", "thai", "other")
INDEX = {c: i for i, c in enumerate(CLASSES)}
_PUNCT = {
    **dict.fromkeys(".…·", "dot"),
    **dict.fromkeys(",;", "comma"),
    ":": "colon",
    **dict.fromkeys("!?", "mark"),
    **dict.fromkeys("'\"`“”‘’", "quote"),
    **dict.fromkeys("()[]{}<>", "bracket"),
    **dict.fromkeys("-_–—=~", "dash"),
    **dict.fromkeys("/\\|", "slash"),
}
_NAMES = (
    ("CYRILLIC", "cyrillic"),
    ("GREEK", "greek"),
    ("CJK", "han"),
    ("HIRAGANA", "kana"),
    ("KATAKANA", "kana"),
    ("HANGUL", "hangul"),
    ("ARABIC", "arabic"),
    ("HEBREW", "hebrew"),
    ("DEVANAGARI", "indic"),
    ("BENGALI", "indic"),
    ("MALAYALAM", "indic"),
    ("TAMIL", "indic"),
    ("TELUGU", "indic"),
    ("GUJARATI", "indic"),
    ("THAI", "thai"),
)


@functools.cache
def char_class(c: str) -> int:
    """Return the training class of a character: letters folded to unaccented lower case, other scripts by name."""
    if c.isspace():
        return GAP
    base = unicodedata.normalize("NFKD", c)[0].lower()
    base = {"ß": "s", "đ": "d", "ø": "o", "ł": "l", "ı": "i", "æ": "a", "œ": "o"}.get(base, base)
    if base in INDEX:
        return INDEX[base]
    if base in _PUNCT:
        return INDEX[_PUNCT[base]]
    name = unicodedata.name(c, "")
    for prefix, cls in _NAMES:
        if name.startswith(prefix):
            return INDEX[cls]
    return INDEX["other"] if c.isalpha() else INDEX["symbol"]


def script_of(text: str) -> int:
    """Return the index in `SCRIPTS` of the script most of the letters belong to."""
    count: dict[str, int] = {}
    for c in text:
        if c.isalpha():
            name = CLASSES[char_class(c)]
            name = "latin" if len(name) == 1 else name
            count[name] = count.get(name, 0) + 1
    return SCRIPTS.index(max(count, key=lambda k: count[k])) if count else 0


def normalise(line: np.ndarray) -> np.ndarray:
    """Centre a uint8 HxW line on 128 and stretch its contrast to a standard deviation of 48 (at most 24-fold)."""
    x = line.astype(np.float32)
    mean, std = float(x.mean()), float(x.std())
    return np.clip(np.rint(128 + (x - mean) * (48 / max(std, 2.0))), 0, 255).astype(np.uint8)


@dataclass
class Line:
    """A rendered line: uint8 32xW crop (not yet normalised), frame classes at stride 4, words as (centre x, word)."""

    pixels: np.ndarray
    frames: np.ndarray
    words: list[tuple[float, str]]
    script: int
    flipped: bool


class Face:
    """One font at one size, with its glyphs remembered."""

    def __init__(self, file: str, size: int = 40) -> None:
        self.font = ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
        self.ascent, self.descent = self.font.getmetrics()
        self.cache: dict[str, tuple[float, np.ndarray, int, int]] = {}
        probe = self.font.getmask("Hamburg")
        if probe.size[0] < 20 or not 8 <= self.font.getbbox("x")[3] - self.font.getbbox("x")[1] <= 60:
            raise OSError("not a text font")
        a, b = self.font.getmask("a"), self.font.getmask("k")
        if a.size == b.size and bytes(a) == bytes(b):
            raise OSError("has no Latin letters")

    def glyph(self, c: str) -> tuple[float, np.ndarray, int, int]:
        """Return (advance, ink, left, top from the ascender line) of one character, drawn once."""
        if c not in self.cache:
            mask, (x, y) = self.font.getmask2(c, anchor="la")
            w, h = mask.size
            self.cache[c] = (self.font.getlength(c), np.frombuffer(bytes(mask), np.uint8).reshape(h, w), x, y)
        return self.cache[c]

    def draw(self, text: str) -> tuple[np.ndarray, np.ndarray, float]:
        """Return (coverage uint8 HxW with a margin of 12 left and 8 above, character edges in pixels, length)."""
        glyphs = [self.glyph(c) for c in text]
        edges = np.concatenate([[0.0], np.cumsum([g[0] for g in glyphs])])
        out = np.zeros((self.ascent + self.descent + 16, int(edges[-1]) + 40), np.uint8)
        for (_, ink, x, y), e in zip(glyphs, edges, strict=False):
            if ink.size:
                y0, x0 = max(0, 8 + y), max(0, round(12 + e + x))
                area = out[y0 : y0 + ink.shape[0], x0 : x0 + ink.shape[1]]
                np.maximum(area, ink[: area.shape[0], : area.shape[1]], out=area)
        return out, 12 + edges, float(edges[-1])


def load_faces(files: list[tuple[str, str]], limit: int, rng: random.Random) -> list[Face]:
    """Open at most `limit` usable faces, families drawn evenly."""
    by_family: dict[str, list[str]] = {}
    for family, file in files:
        by_family.setdefault(family, []).append(file)
    order = [(rng.random() + i, f) for fs in by_family.values() for i, f in enumerate(rng.sample(fs, len(fs)))]
    faces = []
    for _, file in sorted(order):
        try:
            faces.append(Face(file))
        except OSError:
            continue
        if len(faces) >= limit:
            break
    return faces


class Backgrounds:
    """Grey photographs to cut backgrounds from."""

    def __init__(self, files: list[Path]) -> None:
        self.photos = [cv2.imread(str(f), cv2.IMREAD_GRAYSCALE) for f in files]

    def crop(self, h: int, w: int, rng: random.Random) -> np.ndarray:
        photo = rng.choice(self.photos)
        zoom = rng.uniform(0.5, 2.5)
        ch, cw = min(photo.shape[0], max(4, int(h / zoom))), min(photo.shape[1], max(8, int(w / zoom)))
        y, x = rng.randint(0, photo.shape[0] - ch), rng.randint(0, photo.shape[1] - cw)
        return cv2.resize(photo[y : y + ch, x : x + cw], (w, h), interpolation=cv2.INTER_LINEAR)


def wrap(text: str, limit: int, rng: random.Random) -> list[str]:
    """Break a paragraph into lines of at most `limit` characters, at spaces."""
    out = []
    for part in text.replace("\t", "  ").split("\n"):
        part = " ".join(part.split()) if part[:1] != " " else "  " + " ".join(part.split())
        line = ""
        for word in part.split(" "):
            while len(word) > limit:
                out.append(word[:limit])
                word = word[limit:]
            if line and len(line) + 1 + len(word) > limit:
                out.append(line)
                line = word
            else:
                line = f"{line} {word}" if line else word
        if line.strip():
            out.append(line)
    return out


class Renderer:
    """Turns text into line crops.

    Args:
        faces: Latin faces.
        backgrounds: Photos of the same part.
        rng: Source of all randomness.
        scripts: Faces for text that is mostly not Latin, by script name.
    """

    def __init__(
        self,
        faces: list[Face],
        backgrounds: Backgrounds,
        rng: random.Random,
        scripts: dict[str, list[Face]] | None = None,
    ) -> None:
        self.faces, self.backgrounds, self.rng, self.scripts = faces, backgrounds, rng, scripts or {}

    def style(self, easy: bool = False) -> dict[str, object]:
        """Draw what all lines of one paragraph share."""
        r = self.rng
        page = r.random()
        s: dict[str, object] = {
            "face": r.choice(self.faces),
            "stretch": r.choice((1.0, r.uniform(0.8, 1.25))),
            "spacing": r.choice((0, 0, 0, 0, r.uniform(0, 0.25))),
            "height": r.choice((r.uniform(11, 20), r.uniform(16, 40), r.uniform(24, 48))),
            "dark": r.random() < 0.6,
            "back": "flat" if page < 0.5 else "gradient" if page < 0.6 else "photo",
            "box": r.random() < 0.12,
            "outline": r.random() < 0.15,
            "shadow": r.random() < 0.08,
            "opacity": 1.0
            if r.random() < 0.6
            else r.uniform(0.3, 1)
            if r.random() < 0.6
            else float(np.exp(r.uniform(np.log(0.05), np.log(0.4)))),
            "blur": r.choice((0, 0, 0, r.uniform(0, 1.0), r.uniform(0.3, 1.6))),
            "noise": r.choice((0, 0, r.uniform(0, 4), r.uniform(0, 12))),
            "jpeg": r.choice((0, 0, r.randint(25, 95))),
            "dim": r.choice((1.0, 1.0, r.uniform(0.05, 1))),
            "bold": r.random() < 0.06,
            "skew": r.gauss(0, 0.012),
            "margin": [r.choice((r.uniform(-0.1, 0.08), r.uniform(-0.06, 0.25))) for _ in range(2)],
            "under": r.random() < 0.04,
            "jitter": r.uniform(0, 0.5),
        }
        if s["back"] == "photo" and float(s["opacity"]) < 0.3:  # type: ignore[arg-type]
            s["opacity"] = float(s["opacity"]) + 0.2  # type: ignore[arg-type]
        if easy:
            s |= {"opacity": 1.0, "noise": 0, "blur": 0, "jpeg": 0, "dim": 1.0, "back": "flat", "height": 32.0}
        return s

    def line(self, text: str, style: dict[str, object], flip: bool = False) -> Line | None:
        """Render one line; None where the face has no ink for it."""
        r, s = self.rng, style
        script = script_of(text)
        face: Face = s["face"]  # type: ignore[assignment]
        if SCRIPTS[script] in self.scripts:
            face = r.choice(self.scripts[SCRIPTS[script]])
        mask, edges, length = face.draw(text)
        ink = np.flatnonzero(mask.max(1) > 40)
        if ink.size < 6:
            return None
        # The cut: the band from ascender to descender (or the ink, when the text has none), with error.
        top, bottom = (
            (8 + 0.22 * face.ascent * 0.6, 8 + face.ascent + 0.85 * face.descent)
            if r.random() < 0.5
            else (ink[0], ink[-1] + 1)
        )
        top, bottom = min(top, ink[0] + 0.2 * ink.size), max(bottom, ink[-1] - 0.2 * ink.size)
        if bottom - top < 0.3 * (face.ascent + face.descent):  # dots, dashes: the neighbours set the height
            top, bottom = 8 + 0.2 * face.ascent, 8 + face.ascent + 0.5 * face.descent
        span = bottom - top
        m0, m1 = (m + r.uniform(-0.08, 0.08) * float(s["jitter"]) * 2 for m in s["margin"])  # type: ignore[union-attr]
        top, bottom = top - span * m0, bottom + span * m1
        span = bottom - top
        left, right = (12 - span * r.uniform(-0.3, 0.4), 12 + length + span * r.uniform(-0.35, 0.4))
        if r.random() < 0.1:
            right += span * r.uniform(0, 3)
        height = float(s["height"])  # type: ignore[arg-type]
        small = height / span
        sx = small * float(s["stretch"])  # type: ignore[arg-type]
        w0, h0 = max(6, round((right - left) * sx)), max(6, round(height))
        affine = np.array(
            [
                [sx, 0, -left * sx],
                [float(s["skew"]) * small, small, -top * small - float(s["skew"]) * small * (left + right) / 2],
            ],
            np.float32,
        )  # type: ignore[arg-type]
        if s["bold"]:
            mask = cv2.dilate(mask, np.ones((3, 3), np.uint8))
        if small < 0.7:  # warpAffine does not average
            mask = cv2.GaussianBlur(mask, (0, 0), 0.35 / small)
        alpha = cv2.warpAffine(mask, affine, (w0, h0), flags=cv2.INTER_LINEAR).astype(np.float32) / 255
        back = self._background(h0, w0, s)
        level = float(back.mean())
        ink_level = r.uniform(0, 60) if level > 128 else r.uniform(195, 255)
        if s["back"] == "photo" and r.random() < 0.5:
            ink_level = r.choice((0, 255, r.uniform(0, 255)))
        if abs(ink_level - level) < 50:
            ink_level = level + (90 if level < 128 else -90)
        o = float(s["opacity"])  # type: ignore[arg-type]
        if s["box"]:
            back = back * 0.35 + 0.65 * (255 - ink_level)
        edge_level = 255 - ink_level
        if s["outline"]:
            ring = cv2.dilate(alpha, np.ones((3, 3), np.uint8))
            back = back + (edge_level - back) * ring * o
        elif s["shadow"]:
            back = back + (edge_level - back) * np.roll(alpha, (1, 1), (0, 1)) * 0.7 * o
        img = back + (ink_level - back) * alpha * o
        if s["under"]:
            y = min(h0 - 1, int(h0 * 0.9))
            img[y : y + max(1, h0 // 16)] = ink_level
        dim = float(s["dim"])  # type: ignore[arg-type]
        if dim < 1:
            img = 128 + (img - 128) * dim + r.uniform(-1, 1) * (1 - dim) * 100
        blur = float(s["blur"]) * height / 32  # type: ignore[arg-type]
        if blur > 0.2:
            img = cv2.GaussianBlur(img, (0, 0), blur)
        img = np.rint(img)
        if s["noise"]:
            img = img + np.random.default_rng(r.getrandbits(32)).normal(
                0, float(s["noise"]) * max(dim, 0.2) * max(o, 0.3), img.shape
            )  # type: ignore[arg-type]
        img = np.clip(img, 0, 255).astype(np.uint8)
        if s["jpeg"]:
            img = cv2.imdecode(
                cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, int(s["jpeg"])])[1], cv2.IMREAD_GRAYSCALE
            )  # type: ignore[call-overload]
        width = max(8, round(w0 * HEIGHT / h0))
        out = cv2.resize(img, (width, HEIGHT), interpolation=cv2.INTER_LINEAR)
        scale = sx * width / w0
        x = (edges - left) * scale
        frames = np.zeros((width + 3) // 4, np.int64)
        centres = np.arange(frames.size) * 4 + 2.0
        at = np.searchsorted(x, centres, "right") - 1
        inside = (at >= 0) & (at < len(text))
        classes = np.array([char_class(c) for c in text])
        frames[inside] = classes[at[inside]]
        words, start = [], None
        for i, c in enumerate(text + " "):
            if c.isalnum():
                start = i if start is None else start
            elif start is not None and not (c in "'’" and i + 1 < len(text) and text[i + 1].isalpha()):
                words.append((float(x[start] + x[i]) / 2, text[start:i].lower()))
                start = None
        if flip:
            out = out[::-1, ::-1]
            frames, words = np.where(frames[::-1] > 0, INDEX["flipped"], GAP), []
        return Line(np.ascontiguousarray(out), np.ascontiguousarray(frames), words, script, flip)

    def nothing(self) -> Line:
        """Return a cut of a photograph without writing: what the text map takes for a line now and then."""
        width = self.rng.randint(24, 400)
        return Line(self.backgrounds.crop(HEIGHT, width, self.rng), np.zeros((width + 3) // 4, np.int64), [], 0, False)

    def _background(self, h: int, w: int, s: dict[str, object]) -> np.ndarray:
        r = self.rng
        if s["back"] == "photo":
            return self.backgrounds.crop(h, w, r).astype(np.float32)
        base = r.uniform(190, 255) if s["dark"] else r.uniform(0, 90)
        if s["back"] == "gradient":
            a, b = base, base + r.uniform(-60, 60)
            gx = np.linspace(0, 1, w, dtype=np.float32)[None] * r.uniform(-1, 1) + np.linspace(
                0, 1, h, dtype=np.float32
            )[:, None] * r.uniform(-1, 1)
            return a + (b - a) * gx
        return np.full((h, w), base, np.float32)
