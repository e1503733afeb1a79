"""Text layers rendered once, pictures composed from them without end: the data generator of the text map.

A *layer* is a 256x256 coverage mask of one block of text with its labels; a *sample* is a photograph crop with
layers composited on it at random opacity, colour and finish. Layers are cached on disk (rendering text is the slow
part), samples are composed while training, so that every layer is seen on many backgrounds at many opacities.
Everything is a function of its seed.

    python training/textmap/render.py --label                        # writes training/textmap/cache/ocr.json
    python training/textmap/render.py --layers 12000 --seed 1        # writes training/textmap/cache/layers_train_1.npz
    python training/textmap/render.py --part test --layers 2000 --seed 0     # held out: layers_test_0.npz
    python training/textmap/render.py --preview out/samples.png      # contact sheet of composed samples with labels
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[1] / "adversarial"))  # behind, since it has a train.py too
import assets
from benign import DRAWN, artwork, drawn, film

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
from ondevice_guard import _core

CACHE = Path(__file__).resolve().parent / "cache"
SIDE = 256  # pixels of a training crop
CANVAS = 400  # a crop turned by 45 degrees needs 256 * sqrt(2) = 362
STRIDE = 4

# Letters from which words are invented for scripts without sentences at hand; a font is used for a script when its
# character map holds every sampled letter.
SCRIPTS: dict[str, tuple[tuple[int, int], ...]] = {
    "cyrillic": ((0x410, 0x44F),),
    "greek": ((0x391, 0x3A1), (0x3B1, 0x3C9)),
    "han": ((0x4E00, 0x6FFF),),
    "kana": ((0x3041, 0x3093), (0x30A1, 0x30F3)),
    "hangul": ((0xAC00, 0xC800),),
    "arabic": ((0x628, 0x63A), (0x641, 0x64A)),
    "hebrew": ((0x5D0, 0x5EA),),
    "devanagari": ((0x905, 0x90C), (0x915, 0x939), (0x93E, 0x944)),
    "thai": ((0xE01, 0xE2E), (0xE30, 0xE33)),
    "bengali": ((0x995, 0x9A8),),
    "tamil": ((0xB95, 0xB95), (0xB99, 0xB9A), (0xBAE, 0xBB5)),
    "georgian": ((0x10D0, 0x10F0),),
    "armenian": ((0x561, 0x586),),
    "amharic": ((0x1208, 0x1246),),
}


def _spread(ranges: tuple[tuple[int, int], ...]) -> list[int]:
    return [c for a, b in ranges for c in range(a, b + 1)]


def font_table(part: str) -> list[dict]:
    """Return `{"file", "family", "scripts"}` of every usable font of a part (cached as JSON)."""
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"fonts_{part}.json"
    if path.exists():
        return json.loads(path.read_text())
    from fontTools.ttLib import TTCollection, TTFont

    table, per_family = [], {}
    for family, file in assets.fonts(part):
        if per_family.get(family, 0) >= 3 or any(
            w in family.lower() for w in ("math", "symbol", "emoji", "icon", "dingbat", "music", "barcode")
        ):
            continue
        try:
            font = TTCollection(file, lazy=True).fonts[0] if file.lower().endswith(".ttc") else TTFont(file, lazy=True)
            cmap = font.getBestCmap() or {}
        except Exception:
            continue
        scripts = ["latin"] if all(ord(c) in cmap for c in "AQagzR?.10,") else []
        for name, ranges in SCRIPTS.items():
            chars = _spread(ranges)
            if np.mean([c in cmap for c in chars[:: max(1, len(chars) // 64)]]) > 0.97:
                scripts.append(name)
        if scripts:
            per_family[family] = per_family.get(family, 0) + 1
            table.append({"file": file, "family": family, "scripts": scripts})
    path.write_text(json.dumps(table))
    return table


@lru_cache(maxsize=4)
def sentences(data: str, part: str, labels: tuple[str, ...] | None = None) -> list[str]:
    """Return short prompts of a part (split by hash of the text) and of some labels, with line breaks taken out."""
    out = []
    with gzip.open(Path(data) / "text" / "train.jsonl.gz", "rt") as f:
        for line in f:
            row = json.loads(line)
            if labels and row["label"] not in labels:
                continue
            text = " ".join(row["text"].split())
            if 12 <= len(text) <= 400 and max(map(ord, text)) < 0x250 and assets.is_test(text) == (part == "test"):
                out.append(text)
    return out


@lru_cache(maxsize=600)
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


def words(rng: np.random.Generator, script: str, texts: list[str]) -> list[str]:
    """Return a run of words: a piece of a prompt for Latin, invented words for other scripts."""
    if script == "latin" and rng.random() < 0.92:
        w = texts[rng.integers(len(texts))].split()
        start = int(rng.integers(max(1, len(w) - 3)))
        w = w[start : start + 60]
        kind = rng.random()
        return [x.upper() for x in w] if kind < 0.2 else [x.capitalize() for x in w] if kind < 0.28 else w
    chars = _spread(SCRIPTS[script]) if script in SCRIPTS else list(range(97, 123))
    long = script in ("han", "kana", "hangul", "thai")
    return [
        "".join(chr(chars[i]) for i in rng.integers(len(chars), size=rng.integers(1, 12 if long else 9)))
        for _ in range(40)
    ]


@dataclass
class Block:
    """A block of text in its own frame: coverage mask and the ink quadrilateral of every line."""

    mask: np.ndarray  # uint8 CANVAS x CANVAS
    lines: list[np.ndarray]  # each 4x2 float32, clockwise from the start of the line
    size: float


def block(
    rng: np.random.Generator, fonts: list[dict], texts: list[str], by_script: dict[str, list[int]]
) -> Block | None:
    """Draw one block of upright text on a canvas; None when the font cannot draw it."""
    script = "latin" if rng.random() < 0.72 else str(rng.choice([s for s in by_script if s != "latin"]))
    entry = fonts[int(rng.choice(by_script[script]))]
    size = round(np.exp(rng.uniform(np.log(9), np.log(60)))) if rng.random() < 0.9 else int(rng.integers(60, 170))
    try:
        font = _font(entry["file"], size)
        pool = words(rng, script, texts)
        full = rng.random() < 0.35  # lines that run across the whole crop
        width = CANVAS * 1.2 if full else rng.uniform(1.5 * size, max(250.0, 3 * size))
        most = int(rng.integers(1, 4)) if rng.random() < 0.6 else int(rng.integers(3, 14))
        rows: list[str] = []
        row = ""
        joiner = "" if script in ("han", "kana", "thai") and rng.random() < 0.8 else " "
        for word in pool:
            trial = row + joiner + word if row else word
            if row and font.getlength(trial) > width:
                rows.append(row)
                row = word
                if len(rows) >= most:
                    break
            else:
                row = trial
        else:
            rows.append(row)
        if most > 1 and rng.random() < 0.15:  # a numbered or bulleted list, items often empty as in FigStep
            mark = rng.choice(["{}. ", "{}) ", "- ", "({}) "])
            rows = [str(mark).format(i + 1) + (r if rng.random() < 0.6 else "") for i, r in enumerate(rows)]
        spacing = size * rng.uniform(0.95, 1.9)
        stroke = 0 if rng.random() < 0.85 else max(1, size // 18)
        lengths = [font.getlength(r) for r in rows]
        widest = max(lengths)
        align = rng.choice([0.0, 0.5, 1.0], p=[0.6, 0.3, 0.1])
        x0 = -rng.uniform(0, max(0.0, widest - 300)) - 30 if full else (CANVAS - widest) / 2
        y0 = (CANVAS - spacing * len(rows)) / 2
        image = Image.new("L", (CANVAS, CANVAS), 0)
        draw = ImageDraw.Draw(image)
        lines = []
        for i, (text, length) in enumerate(zip(rows, lengths, strict=True)):
            x, y = x0 + align * (widest - length), y0 + i * spacing
            if y > CANVAS or y + spacing < 0 or not text.strip():
                continue
            left, top, right, bottom = draw.textbbox((x, y), text, font=font, stroke_width=stroke)
            if right - left < 2 or bottom - top < 2:
                continue
            draw.text((x, y), text, fill=255, font=font, stroke_width=stroke)
            lines.append(np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32))
    except OSError:
        return None
    mask = np.asarray(image)
    if not lines or mask.max() < 100 or (mask > 90).mean() < 2e-4:
        return None
    if rng.random() < 0.06:  # hollow letters
        mask = cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, np.ones((2, 2) if size < 40 else (3, 3), np.uint8))
    return Block(mask, lines, size)


def layer(
    rng: np.random.Generator, fonts: list[dict], texts: list[str], by_script: dict[str, list[int]]
) -> dict | None:
    """Place a block in a 256x256 crop: upright, turned by any angle, or in perspective, and draw its labels."""
    b = block(rng, fonts, texts, by_script)
    if b is None:
        return None
    kind = rng.random()
    c = CANVAS / 2
    shift = rng.uniform(-90, 90, 2)
    angle = 0.0 if kind < 0.42 else rng.uniform(0, 2 * np.pi) if kind < 0.85 else rng.normal(0, 0.35)
    cos, sin = np.cos(angle), np.sin(angle)
    m = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    m = (
        np.array([[1, 0, SIDE / 2 + shift[0]], [0, 1, SIDE / 2 + shift[1]], [0, 0, 1]])
        @ m
        @ np.array([[1, 0, -c], [0, 1, -c], [0, 0, 1]])
    )
    if angle == 0:
        m[:2, 2] = np.round(m[:2, 2])
    perspective = kind >= 0.85
    if perspective:  # signs seen from the side
        src = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float32)
        m = cv2.getPerspectiveTransform(src, (src + rng.uniform(-60, 60, (4, 2))).astype(np.float32)) @ m
    mask = cv2.warpPerspective(
        b.mask, m, (SIDE, SIDE), flags=cv2.INTER_LINEAR if angle or perspective else cv2.INTER_NEAREST
    )
    if (mask > 90).sum() < 12:
        return None
    text = np.zeros((SIDE, SIDE), np.uint8)
    core = np.zeros((SIDE, SIDE), np.uint8)
    quads = []
    for line in b.lines:
        a, bb, cc, d = line
        h = 0.3 * (d - a)  # core: the middle 40 % of the height, ends drawn in by the same amount
        inset = np.array([min(h[1], (bb - a)[0] * 0.25), 0], np.float32)
        inner = np.stack([a + h + inset, bb + h - inset, cc - h - inset, d - h + inset])
        for target, quad in ((text, line), (core, inner)):
            p = cv2.perspectiveTransform(quad[None].astype(np.float32), m)[0]
            cv2.fillPoly(target, [np.round(p * 16).astype(np.int32)], 255, cv2.LINE_8, 4)
        p = cv2.perspectiveTransform(line[None], m)[0]
        if (p.max(0) > 0).all() and (p.min(0) < SIDE).all():
            quads.append(p)
    if not quads:
        return None
    hull = cv2.boxPoints(cv2.minAreaRect(np.concatenate(quads)))
    along = quads[0][1] - quads[0][0]
    small = (SIDE // STRIDE, SIDE // STRIDE)
    return {
        "mask": mask,
        "text": cv2.resize(text, small, interpolation=cv2.INTER_AREA),
        "core": cv2.resize(core, small, interpolation=cv2.INTER_AREA),
        "angle": np.float32(np.arctan2(along[1], along[0])),
        "hull": hull.astype(np.float32),
        "size": np.float32(b.size),
        "flat": np.uint8(not perspective),
    }


def make_layers(data: Path, part: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """Return `count` layers stacked field by field."""
    fonts, texts = font_table(part), sentences(str(data), part)
    by_script: dict[str, list[int]] = {}
    for i, f in enumerate(fonts):
        for s in f["scripts"]:
            by_script.setdefault(s, []).append(i)
    rng = np.random.default_rng(seed)
    found: list[dict] = []
    while len(found) < count:
        one = layer(rng, fonts, texts, by_script)
        if one:
            found.append(one)
    return {k: np.stack([f[k] for f in found]) for k in found[0]}


# ---------------------------------------------------------------------------------------------- composing samples


def features(rgb: np.ndarray) -> np.ndarray:
    """The network's input, uint8 H/4 x W/4 x 64, by the very kernel that inference uses."""
    return _core.typographic.patches(rgb, threads=1)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Regular structures that look like writing: bars, grids, dots, bricks, window rows, blinds, keys."""
    side = SIDE
    yy, xx = np.mgrid[0:side, 0:side].astype(np.float32)
    t = rng.uniform(0, np.pi)
    u, v = xx * np.cos(t) + yy * np.sin(t), -xx * np.sin(t) + yy * np.cos(t)
    p, q = np.exp(rng.uniform(np.log(4), np.log(50), 2))
    kind = rng.integers(6)
    if kind == 0:
        g = (u % p) < p * rng.uniform(0.2, 0.8)
    elif kind == 1:
        g = ((u % p) < p * rng.uniform(0.1, 0.6)) | ((v % q) < q * rng.uniform(0.1, 0.6))
    elif kind == 2:
        g = ((u % p) - p / 2) ** 2 + ((v % p) - p / 2) ** 2 < (p * rng.uniform(0.15, 0.45)) ** 2
    elif kind == 3:
        g = (((u + (v // q % 2) * p / 2) % p) < 2) | ((v % q) < 2)
    elif kind == 4:
        row = (v // q).astype(int)
        g = (
            ((u % p) < p * 0.6)
            & ((v % q) < q * 0.7)
            & (np.sin(row * 12.9898 + (u // p) * 78.233) > rng.uniform(-1, 0.3))
        )
    else:
        small = rng.random((max(2, int(side / p)), max(2, int(side / q)))).astype(np.float32)
        g = cv2.resize(small, (side, side), interpolation=int(rng.choice([cv2.INTER_NEAREST, cv2.INTER_CUBIC]))) > 0.5
    a, b = rng.integers(0, 256, (2, 3)).astype(np.float32)
    if rng.random() < 0.5:
        b = a + rng.normal(0, 30, 3)
    img = np.where(g[..., None], a, b).astype(np.float32)
    if rng.random() < 0.5:
        img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.4, 2))
    return np.clip(img + rng.normal(0, rng.uniform(0, 6), img.shape), 0, 255).astype(np.uint8)


def _jpeg(img: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1], cv2.IMREAD_COLOR)


class Composer:
    """Composes samples from photographs and cached layers.

    Args:
        photos: Photographs of one part, uint8 HxWx3 RGB.
        boxes: For every photograph the text an OCR engine found: list of (4x2 quad, confidence).
        layers: Fields of `make_layers`.
        seed: Start of the stream of samples.
    """

    def __init__(
        self,
        photos: list[np.ndarray],
        boxes: list[list[tuple[np.ndarray, float]]],
        layers: dict[str, np.ndarray],
        seed: int,
    ) -> None:
        self.photos, self.boxes, self.layers = photos, boxes, layers
        self.rng = np.random.default_rng(seed)
        self.ease = 0.0  # share of overlays that are kept opaque and plain: learning starts with what can be seen
        # small print is what attacks and documents are made of, and what the map learns last
        size = np.minimum(layers["size"], 100)
        self.chance = np.cumsum(np.where(size <= 34, 1.0, 0.3))
        self.chance /= self.chance[-1]
        self.grain = self.rng.normal(0, 1, (2 * SIDE, 2 * SIDE, 3)).astype(np.float32)
        self.pool: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def _noise(self, img: np.ndarray, sigma: float) -> np.ndarray:
        y, x = self.rng.integers(0, SIDE, 2)
        return cv2.add(img, self.grain[y : y + SIDE, x : x + SIDE] * np.float32(sigma), dtype=cv2.CV_8U)

    def background(self, pool: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a background of a growing pool, mirrored and turned at random (finished crops cost 5 ms, reuse nothing)."""
        if len(self.pool) < pool and (len(self.pool) < 64 or self.rng.random() < 0.5):
            self.pool.append(self._background())
            return self.pool[-1]
        kept = self.pool[int(self.rng.integers(len(self.pool)))]
        k, mirror = int(self.rng.integers(4)) if self.rng.random() < 0.3 else 0, self.rng.random() < 0.5
        step = -1 if mirror else 1
        return tuple(np.ascontiguousarray(np.rot90(a, k)[:, ::step]) for a in kept)  # type: ignore[return-value]

    def _background(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Make a crop, and masks of real text in it at stride 4: surely text, and to be ignored."""
        rng = self.rng
        sure = np.zeros((SIDE, SIDE), np.uint8)
        unsure = np.zeros((SIDE, SIDE), np.uint8)
        kind = rng.random()
        if kind < 0.06:
            img = _texture(rng)
        elif kind < 0.2:
            img = artwork(rng, SIDE, SIDE)
        elif kind < 0.27:  # fine structure: dither, printing screens, pixel art, stars …
            photo = self.photos[int(rng.integers(len(self.photos)))]
            img = drawn(cv2.resize(photo, (2 * SIDE, 2 * SIDE)), rng, str(rng.choice(list(DRAWN))))
            y, x = (int(rng.integers(max(1, n - SIDE))) for n in img.shape[:2])
            img = cv2.copyMakeBorder(
                img[y : y + SIDE, x : x + SIDE],
                0,
                max(0, SIDE - img.shape[0]),
                0,
                max(0, SIDE - img.shape[1]),
                cv2.BORDER_REFLECT_101,
            )
        elif kind < 0.34:  # paper, screens, slides
            a, b = (
                rng.integers(0, 256, (2, 3))
                if rng.random() < 0.4
                else np.repeat(rng.choice([0, 255, 250, 245, 30]), 6).reshape(2, 3)
            )
            ramp = np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None]
            img = np.broadcast_to(a * (1 - ramp) + b * ramp, (SIDE, SIDE, 3))
            img = np.clip(img + rng.normal(0, rng.choice([0, 0, 1, 3]), (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        else:
            i = int(rng.integers(len(self.photos)))
            photo = self.photos[i]
            h, w = photo.shape[:2]
            enlarged = rng.random() < 0.15  # as large pictures often are, and then grained by an editor
            zoom = np.exp(rng.uniform(np.log(2.2), np.log(7)) if enlarged else rng.uniform(np.log(0.55), np.log(2.2)))
            side = int(min(h, w, SIDE / zoom))
            y, x = int(rng.integers(h - side + 1)), int(rng.integers(w - side + 1))
            crop = photo[y : y + side, x : x + side]
            scale = SIDE / side
            img = cv2.resize(
                crop,
                (SIDE, SIDE),
                interpolation=cv2.INTER_AREA if scale < 1 else int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC])),
            )
            for quad, score in self.boxes[i]:
                p = np.round((quad - [x, y]) * scale).astype(np.int32)
                cv2.fillPoly(sure if score >= 0.75 else unsure, [p], 255)
            if rng.random() < 0.4:
                gain, lift = rng.uniform(0.4, 1.3), rng.uniform(-40, 40)
                img = np.clip(img.astype(np.float32) * gain + lift + (1 - gain) * 100, 0, 255).astype(np.uint8)
            if enlarged and rng.random() < 0.7:
                img = film(img, rng)
        img = np.ascontiguousarray(img)
        if rng.random() < 0.2:
            img = self._noise(img, rng.uniform(1, 9))
        if rng.random() < 0.25:
            img = _jpeg(img, rng.integers(35, 96))
        if rng.random() < 0.1:
            img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.4, 1.6))
        small = (SIDE // STRIDE, SIDE // STRIDE)
        return (
            img,
            cv2.resize(sure, small, interpolation=cv2.INTER_AREA),
            cv2.resize(unsure, small, interpolation=cv2.INTER_AREA),
        )

    def sample(self) -> dict[str, np.ndarray]:
        """Return one sample: `rgb` uint8 256x256x3, and at stride 4 `text`, `core`, `overlay` (uint8 0-255), `weight`
        (float32, 0 where the truth is unknown), `angle` (float32, NaN where there is none)."""
        rng = self.rng
        img, sure, unsure = self.background()
        img = img.copy()
        small = SIDE // STRIDE
        text, overlay, core = sure.copy(), np.zeros_like(sure), np.zeros_like(sure)
        core_known = sure < 20
        weight = (unsure < 20).astype(np.float32)
        angle = np.full((small, small), np.nan, np.float32)
        count = int(rng.choice([0, 1, 2, 3], p=[0.16, 0.32, 0.28, 0.24]))
        plan = []
        for _ in range(count):
            i = int(np.searchsorted(self.chance, rng.random()))
            plan.append(
                (
                    i,
                    int(rng.integers(4)) if rng.random() < 0.25 else 0,
                    rng.random() < (0.28 if self.layers["flat"][i] else 0.8),
                )
            )
        plan.sort(
            key=lambda t: not t[2]
        )  # the scene's own writing first, then the picture is taken, then labels are put on it
        shot = False
        taken = np.zeros((small, small), bool)
        for i, turn, scene in plan:
            if not scene and not shot:
                img, shot = self._camera(img, any(p[2] for p in plan)), True
            mask, label, inner = (np.rot90(self.layers[k][i], -turn) for k in ("mask", "text", "core"))
            here = label > 20
            if (taken & cv2.dilate(here.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)).any() or (
                here & (sure > 20)
            ).any():
                continue
            taken |= here
            img, visible = self._paint(img, np.ascontiguousarray(mask), i, turn, scene)
            text = np.maximum(text, label)
            core = np.maximum(core, inner)
            if visible < 0.5:
                weight[here] = 0 if visible < 0.2 else 0.5
            if not scene:
                overlay = np.maximum(overlay, label)
            angle[label > 127] = self.layers["angle"][i] + turn * np.pi / 2
        if not shot:
            img = self._camera(img, bool(plan))
        finish = rng.random()
        if finish < 0.35:
            img = _jpeg(img, rng.integers(40, 98))
        elif finish < 0.43:
            img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.3, 0.9))
        weight[~core_known & (core < 20)] = np.minimum(weight[~core_known & (core < 20)], 0.5)
        return {
            "rgb": img,
            "text": text,
            "core": core,
            "overlay": overlay,
            "weight": weight,
            "angle": angle,
            "core_known": core_known,
        }

    def _camera(self, img: np.ndarray, wrote: bool) -> np.ndarray:
        """What happens between a scene with writing in it and its picture: blur, noise, compression."""
        rng = self.rng
        if not wrote:
            return img
        if rng.random() < 0.8:
            img = cv2.GaussianBlur(img, (0, 0), rng.uniform(0.4, 1.5))
        if rng.random() < 0.6:
            img = self._noise(img, rng.uniform(0.5, 6))
        return _jpeg(img, rng.integers(50, 97)) if rng.random() < 0.6 else img

    def _paint(self, img: np.ndarray, mask: np.ndarray, i: int, turn: int, scene: bool) -> tuple[np.ndarray, float]:
        """Composite one layer; return the picture and how far the letters stand out of the texture around them."""
        rng = self.rng
        hull = self.layers["hull"][i] - SIDE / 2
        for _ in range(turn):
            hull = np.stack([-hull[:, 1], hull[:, 0]], -1)
        hull = hull + SIDE / 2
        x0, y0, w, h = cv2.boundingRect(mask)
        edge = 24 if scene else 14  # room for plates, glows and the texture around
        x1, y1 = min(SIDE, x0 + w + edge), min(SIDE, y0 + h + edge)
        x0, y0 = max(0, x0 - edge), max(0, y0 - edge)
        whole, img, mask = img, img[y0:y1, x0:x1], mask[y0:y1, x0:x1]
        hull = hull - [x0, y0]
        out = img.astype(np.float32)
        ink = mask > 90
        at = out[ink][:: max(1, int(ink.sum()) // 256)].mean(0)
        plate = rng.random() < (0.6 if scene else 0.15)
        colour = self._colour(at)
        if plate:
            m = np.zeros(mask.shape, np.uint8)
            grown = hull + (hull - hull.mean(0)) / (
                np.linalg.norm(hull - hull.mean(0), axis=1, keepdims=True) + 1e-3
            ) * rng.uniform(2, 20)
            cv2.fillPoly(m, [np.round(grown).astype(np.int32)], 255, cv2.LINE_AA)
            ground = rng.integers(0, 256, 3).astype(np.float32)
            if abs(float((ground - colour) @ [0.3, 0.59, 0.11])) < 50:
                ground = np.where(
                    colour.mean() > 127, colour - rng.uniform(60, 160), colour + rng.uniform(60, 160)
                ).astype(np.float32)
            cover = (m / np.float32(255))[..., None] * np.float32(1.0 if rng.random() < 0.6 else rng.uniform(0.2, 0.9))
            out += (ground - out) * cover
        coverage = mask / np.float32(255)
        if scene:
            alpha = rng.uniform(0.75, 1.0)
            # paint takes the light that falls on the scene, and its grain
            size = (mask.shape[1], mask.shape[0])
            light = (
                cv2.GaussianBlur(cv2.resize(img, (24, 24), interpolation=cv2.INTER_AREA), (0, 0), 3)
                .mean(-1)
                .astype(np.float32)
            )
            light = cv2.resize(light / (light.mean() + 1), size)
            grain = cv2.resize(self.grain[:48, :48, 0], size) * np.float32(rng.uniform(0, 14))
            target = np.clip(colour, 12, 240) * (0.4 + 0.6 * light[..., None]) + grain[..., None]
            if rng.random() < 0.3:  # emboss, engraving
                target = out * 0.7 + target * 0.3
        else:
            kind = rng.random() * (0.4 if rng.random() < self.ease else 1.0)
            alpha = (
                1.0
                if kind < 0.4
                else rng.uniform(0.25, 1)
                if kind < 0.6
                else float(np.exp(rng.uniform(np.log(0.025), np.log(0.3))))
            )
            target = colour
            if kind > 0.7:  # a step of a few grey levels, on whatever lies below
                step = rng.uniform(4, 22) * rng.choice([-1, 1])
                target = out + (step if rng.random() < 0.7 else step * rng.normal(0, 1, 3).astype(np.float32))
                alpha = 1.0
            soft = rng.random()
            if soft < 0.18:  # shadow, glow or outline in another colour
                around = (
                    cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.8, 3))
                    if soft < 0.1
                    else cv2.dilate(coverage, np.ones((3, 3)))
                )
                around = np.roll(around, rng.integers(-3, 4, 2), (0, 1))[..., None] * np.float32(
                    alpha * rng.uniform(0.4, 1)
                )
                out += ((0 if colour.mean() > 110 else 255) - out) * around
            if rng.random() < 0.07:  # residue of decimation: only every other row or column carries ink
                step = int(rng.integers(2, 4))
                keep = np.zeros_like(coverage)
                keep[rng.integers(step) :: step, rng.integers(step) :: step] = 1
                coverage = coverage * keep
            elif rng.random() < 0.1:
                coverage = cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.4, 1.5))
        before = out[..., 1].copy()
        change = (target - out) * (coverage * np.float32(alpha))[..., None]
        contrast = float(np.abs(change[ink]).max(-1).mean())
        cv2.add(out, change, dst=whole[y0:y1, x0:x1], dtype=cv2.CV_8U)  # rounds and saturates
        texture = float(
            np.abs(before - cv2.blur(before, (7, 7)))[cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 90].mean()
        )
        return whole, contrast / (texture + 1.5)

    def _colour(self, at: np.ndarray) -> np.ndarray:
        """Ink colour: black, white, or any that differs from what is below."""
        rng = self.rng
        kind = rng.random()
        if kind < 0.3:
            grey = at.mean()
            return np.full(3, 255.0 if grey < 128 else 0.0, np.float32)
        if kind < 0.45:
            return np.full(3, float(rng.choice([0, 255])), np.float32)
        colour = rng.integers(0, 256, 3).astype(np.float32)
        for _ in range(4):
            if np.abs(colour - at).max() > 60:
                break
            colour = rng.integers(0, 256, 3).astype(np.float32)
        return colour


def label_photos(data: Path) -> dict[str, list]:
    """Return file name → [quad, length of the text, confidence] of the writing that PP-OCR finds in each photograph."""
    from rapidocr_onnxruntime import RapidOCR

    engine, found = RapidOCR(intra_op_num_threads=1), {}
    for path in assets.photos(data, "train") + assets.photos(data, "test"):
        lines, _ = engine(str(path))
        found[path.name] = [[quad, len(text), float(score)] for quad, text, score in lines or []]
    return found


def load_photos(data: Path, part: str) -> tuple[list[np.ndarray], list[list[tuple[np.ndarray, float]]]]:
    """Return the photographs of a part and the text that OCR found in each (`--label`)."""
    found = json.loads((CACHE / "ocr.json").read_text()) if (CACHE / "ocr.json").exists() else {}
    photos, boxes = [], []
    for path in assets.photos(data, part):
        img = cv2.imread(str(path))
        if img is None or min(img.shape[:2]) < 96:
            continue
        photos.append(cv2.cvtColor(img, cv2.COLOR_BGR2RGB))
        boxes.append([(np.array(q, np.float32), s) for q, _, s in found.get(path.name, [])])
    return photos, boxes


def main() -> None:
    """Render layers, or preview samples."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--data")
    ap.add_argument("--part", default="train")
    ap.add_argument("--layers", type=int, default=12000)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--label", action="store_true", help="find the writing in the photographs themselves, by OCR")
    ap.add_argument("--preview")
    args = ap.parse_args()
    cv2.setNumThreads(1)
    data = assets.data_dir(args.data)
    path = CACHE / f"layers_{args.part}_{args.seed}.npz"
    CACHE.mkdir(exist_ok=True)
    if args.label:
        (CACHE / "ocr.json").write_text(json.dumps(label_photos(data)))
        return
    if not args.preview:
        layers = make_layers(data, args.part, args.layers, args.seed)
        np.savez(path, **layers)
        print(path, len(layers["mask"]))
        return
    composer = Composer(*load_photos(data, args.part), dict(np.load(path)), args.seed)
    tiles = []
    for _ in range(24):
        s = composer.sample()
        label = np.stack([s["text"], s["overlay"], s["core"]], -1)
        label[s["weight"] < 1] = label[s["weight"] < 1] // 2 + 60
        tiles.append(np.concatenate([s["rgb"], cv2.resize(label, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)], 1))
    sheet = np.concatenate([np.concatenate(tiles[i : i + 4], 1) for i in range(0, 24, 4)])
    Path(args.preview).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(args.preview, sheet[..., ::-1])


if __name__ == "__main__":
    main()
