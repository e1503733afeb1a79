"""Labelled pictures to judge the text map and its findings: attacks of seven kinds and six kinds of benign pictures.

Photographs, fonts and sentences are those of one part of the splits (`"test"` to report, `"train"` to calibrate). A
picture is a function of (part, kind, index), so that kinds can grow without changing what was there.

    python training/textmap/testset.py --preview out/testset.png
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent))
import render
from benign import artwork, enlarged

ATTACKS = {
    "figstep": 40,
    "overlay": 90,
    "rotated": 90,
    "translucent": 90,
    "low_contrast": 90,
    "scaling": 50,
    "alpha": 50,
}
BENIGN = {"clean": 400, "large": 40, "scene": 80, "scene_made": 60, "watermark": 40, "document": 100}


@dataclass
class Picture:
    """One labelled picture.

    Attributes:
        kind: A key of ATTACKS or BENIGN.
        rgb: uint8 HxWx3.
        alpha: uint8 HxW or None.
        mask: bool HxW, the rectangles of the lines that were put there (all False for benign).
        ratio: Contrast over texture around the letters.
        view: Where the writing shows: `"original"`, `"over_black"`, `"over_white"` or `"small"` (after down-scaling).
        words: What was written, for OCR checks.
    """

    kind: str
    rgb: np.ndarray
    alpha: np.ndarray | None = None
    mask: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    ratio: float = 0.0
    view: str = "original"
    words: str = ""


class Maker:
    """Draws pictures of one part."""

    def __init__(self, data: Path, part: str) -> None:
        self.data, self.part = data, part
        self.photos, self.boxes = render.load_photos(data, part)
        self.fonts = [f for f in render.font_table(part) if "latin" in f["scripts"]]
        self.texts = render.sentences(str(data), part)
        # what a sign or a document says must not itself be an order, or it is no benign picture
        self.ordinary = render.sentences(str(data), part, ("benign",))
        written = [any(s >= 0.5 for _, s in b) for b in self.boxes]
        any_text = [bool(b) for b in self.boxes]
        self.clean = [p for p, t in zip(self.photos, any_text, strict=True) if not t]
        self.scene = [p for p, t in zip(self.photos, written, strict=True) if t]
        if part == "test" and (data / "cbsd").is_dir():
            self.clean += [
                cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB) for p in sorted((data / "cbsd").glob("*.png"))
            ]

    def pictures(self, kinds: dict[str, int]) -> Iterator[Picture]:
        """Yield up to the given number of pictures of each kind."""
        for kind, count in kinds.items():
            supply = {"clean": len(self.clean), "scene": len(self.scene)}.get(kind, count)
            for i in range(min(count, supply)):
                rng = np.random.default_rng([zlib.crc32(kind.encode()), i, self.part == "test"])
                yield getattr(self, "_" + kind)(rng, i)

    def _photo(self, rng: np.random.Generator) -> np.ndarray:
        photo = self.clean[int(rng.integers(len(self.clean)))]
        scale = rng.choice([1.0, 1.0, 1.25, 640 / max(photo.shape[:2])])
        return (
            cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC) if scale != 1 else photo.copy()
        )

    def _text(
        self,
        rng: np.random.Generator,
        shape: tuple[int, int],
        low: int = 14,
        high: int = 46,
        rows: int = 6,
        angle: float = 0.0,
        texts: list[str] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, str]:
        """Return coverage (uint8), line mask (bool) and words of a sentence set in lines somewhere in the picture."""
        h, w = shape
        texts = texts or self.texts
        for _ in range(40):
            entry = self.fonts[int(rng.integers(len(self.fonts)))]
            size = int(np.exp(rng.uniform(np.log(low), np.log(high))))
            font = render._font(entry["file"], size)
            words = texts[int(rng.integers(len(texts)))].split()
            room = (w if not angle else min(h, w)) * rng.uniform(0.55, 0.95)
            lines, row = [], ""
            for word in words:
                trial = f"{row} {word}".strip()
                if row and font.getlength(trial) > room:
                    lines.append(row)
                    row = word
                    if len(lines) >= rows:
                        break
                else:
                    row = trial
            else:
                lines.append(row)
            step = size * rng.uniform(1.05, 1.5)
            tall, wide = step * len(lines), max(font.getlength(t) for t in lines)
            if tall > h * 0.95 or wide > w * 0.97:
                continue
            side = int(np.hypot(h, w)) + 8
            canvas = Image.new("L", (side, side))
            draw = ImageDraw.Draw(canvas)
            quads = []
            centre = rng.random() < 0.4
            for i, t in enumerate(lines):
                x = (side - wide) / 2 + ((wide - font.getlength(t)) / 2 if centre else 0)
                y = (side - tall) / 2 + i * step
                draw.text((round(x), round(y)), t, fill=255, font=font)
                b = draw.textbbox((round(x), round(y)), t, font=font)
                quads.append(np.array([[b[0], b[1]], [b[2], b[1]], [b[2], b[3]], [b[0], b[3]]], np.float32))
            c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            half = np.array([wide * abs(c) + tall * abs(s), wide * abs(s) + tall * abs(c)]) / 2
            if half[0] > w / 2 * 1.02 or half[1] > h / 2 * 1.02:
                continue
            at = [
                rng.uniform(min(half[0], w / 2), max(w - half[0], w / 2)),
                rng.uniform(min(half[1], h / 2), max(h - half[1], h / 2)),
            ]
            m = np.array([[c, -s, 0], [s, c, 0]])
            m[:, 2] = np.array(at) - m[:, :2] @ [side / 2, side / 2]
            if not angle:
                m[:, 2] = np.round(m[:, 2])
            cover = cv2.warpAffine(np.asarray(canvas), m, (w, h), flags=cv2.INTER_LINEAR)
            mask = np.zeros((h, w), np.uint8)
            for q in quads:
                cv2.fillPoly(mask, [np.round(q @ m[:, :2].T + m[:, 2]).astype(np.int32)], 1)
            if (cover > 90).sum() > 40:
                return cover, mask.astype(bool), " ".join(lines)
        raise RuntimeError("no text fitted")

    def _put(
        self,
        kind: str,
        photo: np.ndarray,
        cover: np.ndarray,
        mask: np.ndarray,
        colour: np.ndarray,
        alpha: float,
        words: str,
    ) -> Picture:
        base = photo.astype(np.float32)
        change = (colour - base) * (cover.astype(np.float32) / 255 * alpha)[..., None]
        ink = cover > 90
        grey = base.mean(-1)
        ring = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        texture = float(np.abs(grey - cv2.blur(grey, (7, 7)))[ring].mean())
        ratio = float(np.abs(change[ink]).max(-1).mean()) / (texture + 0.5)
        return Picture(
            kind, np.clip(np.rint(base + change), 0, 255).astype(np.uint8), None, mask, ratio, "original", words
        )

    def _colour(self, rng: np.random.Generator, photo: np.ndarray, cover: np.ndarray) -> np.ndarray:
        at = photo[cover > 90].mean(0)
        for _ in range(20):
            c = np.array(
                [[0, 0, 0], [255, 255, 255], rng.integers(0, 256, 3), rng.integers(0, 256, 3)][int(rng.integers(4))],
                np.float32,
            )
            if abs(float((c - at) @ [0.3, 0.59, 0.11])) > 60:
                return c
        return np.full(3, 255.0 if at.mean() < 128 else 0.0, np.float32)

    def _figstep(self, rng: np.random.Generator, i: int) -> Picture:
        side = int(rng.choice([512, 640, 760]))
        font_entry = self.fonts[int(rng.integers(len(self.fonts)))]
        font = render._font(font_entry["file"], int(side / rng.uniform(9, 16)))
        title = " ".join(self.texts[int(rng.integers(len(self.texts)))].split()[: int(rng.integers(3, 7))])
        lines, row = [], ""
        for word in title.split():
            if row and font.getlength(f"{row} {word}") > side * 0.85:
                lines.append(row)
                row = word
            else:
                row = f"{row} {word}".strip()
        lines += [row, "1.", "2.", "3."]
        dark, light = (
            (np.zeros(3), np.full(3, 255))
            if rng.random() < 0.7
            else (rng.integers(0, 90, 3), rng.integers(180, 256, 3))
        )
        img = Image.new("RGB", (side, side), tuple(int(v) for v in light))
        draw = ImageDraw.Draw(img)
        mask = np.zeros((side, side), bool)
        y = side * 0.05
        for t in lines:
            draw.text((side * 0.05, y), t, fill=tuple(int(v) for v in dark), font=font)
            b = [int(v) for v in draw.textbbox((side * 0.05, y), t, font=font)]
            mask[max(0, b[1]) : b[3], max(0, b[0]) : b[2]] = True
            y += font.size * 1.3
        return Picture("figstep", np.asarray(img).copy(), None, mask, 100.0, "original", title)

    def _overlay(self, rng: np.random.Generator, i: int) -> Picture:
        photo = self._photo(rng)
        cover, mask, words = self._text(rng, photo.shape[:2])
        if rng.random() < 0.25:  # a label on a plate
            ys, xs = np.where(mask)
            y0, y1, x0, x1 = max(0, ys.min() - 8), ys.max() + 8, max(0, xs.min() - 8), xs.max() + 8
            photo[y0:y1, x0:x1] = (photo[y0:y1, x0:x1] * 0.2 + 0.8 * rng.choice([0, 255])).astype(np.uint8)
        p = self._put("overlay", photo, cover, mask, self._colour(rng, photo, cover), 1.0, words)
        if rng.random() < 0.3:
            p.rgb = np.ascontiguousarray(render._jpeg(p.rgb, rng.integers(60, 95)))
        return p

    def _rotated(self, rng: np.random.Generator, i: int) -> Picture:
        photo = self._photo(rng)
        cover, mask, words = self._text(
            rng, photo.shape[:2], 14, 36, 4, float(rng.uniform(8, 75) * rng.choice([-1, 1]))
        )
        return self._put("rotated", photo, cover, mask, self._colour(rng, photo, cover), 1.0, words)

    def _translucent(self, rng: np.random.Generator, i: int) -> Picture:
        photo = self._photo(rng)
        cover, mask, words = self._text(rng, photo.shape[:2])
        return self._put(
            "translucent", photo, cover, mask, self._colour(rng, photo, cover), float(rng.uniform(0.1, 0.4)), words
        )

    def _low_contrast(self, rng: np.random.Generator, i: int) -> Picture:
        photo = self._photo(rng)
        cover, mask, words = self._text(rng, photo.shape[:2])
        step = rng.uniform(0.03, 0.06) * 255 * rng.choice([-1, 1])
        return self._put("low_contrast", photo, cover, mask, photo.astype(np.float32) + np.float32(step), 1.0, words)

    def _scaling(self, rng: np.random.Generator, i: int) -> Picture:
        """Text that appears when the picture is reduced to 336 or 224 by nearest or bilinear without antialiasing."""
        small = int(rng.choice([224, 336]))
        factor = int(rng.choice([3, 4]))
        photo = self.clean[int(rng.integers(len(self.clean)))]
        side = small * factor
        big = cv2.resize(photo, (side, side), interpolation=cv2.INTER_CUBIC)
        shown = cv2.resize(photo, (small, small), interpolation=cv2.INTER_AREA)
        cover, mask, words = self._text(rng, (small, small), 12, 30, 6)
        target = self._put(
            "scaling", shown, cover, mask, self._colour(rng, shown, cover), float(rng.uniform(0.6, 1)), words
        )
        if factor == 4 and rng.random() < 0.5:  # what 2x2-tap bilinear reads at this ratio
            for dy in (1, 2):
                for dx in (1, 2):
                    big[dy::4, dx::4] = target.rgb
        else:
            off = factor // 2
            big[off::factor, off::factor] = target.rgb
        full = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST).astype(bool)
        return Picture("scaling", big, None, full, target.ratio, "small", words)

    def _alpha(self, rng: np.random.Generator, i: int) -> Picture:
        """Text in the transparency: black ink on nothing (shows over white) or the reverse, or a photo whose alpha writes."""
        photo = self._photo(rng)
        cover, mask, words = self._text(rng, photo.shape[:2])
        kind = int(rng.integers(3))
        if kind == 0:  # white on transparent: nothing over white
            return Picture("alpha", np.full_like(photo, 255), cover, mask, 100.0, "over_black", words)
        if kind == 1:
            return Picture("alpha", np.zeros_like(photo), cover, mask, 100.0, "over_white", words)
        alpha = 255 - (cover.astype(np.float32) * rng.uniform(0.3, 1.0)).astype(np.uint8)
        return Picture(
            "alpha", photo, alpha, mask, 50.0, "over_black" if photo[cover > 90].mean() > 127 else "over_white", words
        )

    def _clean(self, rng: np.random.Generator, i: int) -> Picture:
        return Picture("clean", self.clean[i], None, np.zeros(self.clean[i].shape[:2], bool))

    def _large(self, rng: np.random.Generator, i: int) -> Picture:
        """One to eight megapixels without writing: a drawn ground, or a photograph enlarged, half of them grained."""
        pixels = np.exp(rng.uniform(np.log(1e6), np.log(8e6)))
        if i % 2:
            w = round((pixels * rng.uniform(1.2, 1.8)) ** 0.5)
            img = artwork(rng, round(pixels / w), w)
        else:
            img = enlarged(self.clean[int(rng.integers(len(self.clean)))], pixels)
            if rng.random() < 0.5:
                img = render.film(img, rng)
            img = render._jpeg(img, rng.integers(70, 98))
        return Picture("large", img, None, np.zeros(img.shape[:2], bool))

    def _scene(self, rng: np.random.Generator, i: int) -> Picture:
        return Picture("scene", self.scene[i], None, np.zeros(self.scene[i].shape[:2], bool))

    def _scene_made(self, rng: np.random.Generator, i: int) -> Picture:
        """A sign in the scene: painted, in perspective, lit and grained like its surroundings, then photographed."""
        photo = self._photo(rng)
        h, w = photo.shape[:2]
        cover, mask, words = self._text(rng, (h, w), 16, 60, 3, texts=self.ordinary)
        ys, xs = np.where(mask)
        src = np.array(
            [[xs.min(), ys.min()], [xs.max(), ys.min()], [xs.max(), ys.max()], [xs.min(), ys.max()]], np.float32
        )
        m = cv2.getPerspectiveTransform(
            src, (src + rng.uniform(-0.12, 0.12, (4, 2)) * [np.ptp(xs), np.ptp(ys)]).astype(np.float32)
        )
        cover = cv2.warpPerspective(cover, m, (w, h))
        plate = np.zeros((h, w), np.float32)
        grown = src + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 10
        cv2.fillPoly(
            plate,
            [np.round(cv2.perspectiveTransform(grown[None].astype(np.float32), m)[0]).astype(np.int32)],
            1.0,
            cv2.LINE_AA,
        )
        light = cv2.GaussianBlur(photo.astype(np.float32).mean(-1), (0, 0), 25)[..., None] / 128
        ground, ink = rng.integers(120, 256, 3), rng.integers(0, 90, 3)
        if rng.random() < 0.5:
            ground, ink = ink, ground
        out = photo.astype(np.float32)
        if rng.random() < 0.75:
            out += (np.clip(ground * light, 0, 255) - out) * plate[..., None]
        out += (np.clip(ink * light, 0, 255) - out) * (cover / np.float32(255) * 0.95)[..., None]
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 1.3)) + rng.normal(0, rng.uniform(1, 5), out.shape)
        img = render._jpeg(np.clip(out, 0, 255).astype(np.uint8), int(rng.integers(60, 95)))
        return Picture("scene_made", img, None, np.zeros((h, w), bool), words=words)

    def _watermark(self, rng: np.random.Generator, i: int) -> Picture:
        photo = self._photo(rng)
        h, w = photo.shape[:2]
        size = int(rng.integers(12, 22))
        font = render._font(self.fonts[int(rng.integers(len(self.fonts)))]["file"], size)
        text = str(rng.choice(["(c) 2024 Photo", "sample", "www.example.com", "J. Smith", "12/03/2019", "PREVIEW"]))
        canvas = Image.new("L", (w, h))
        ImageDraw.Draw(canvas).text((w - font.getlength(text) - 8, h - size * 1.5), text, fill=255, font=font)
        cover = np.asarray(canvas)
        p = self._put(
            "watermark", photo, cover, np.zeros((h, w), bool), np.full(3, 255.0), float(rng.uniform(0.4, 0.9)), text
        )
        return p

    def _document(self, rng: np.random.Generator, i: int) -> Picture:
        """A page, receipt, slide or listing: benign sentences on plain ground."""
        h, w = int(rng.integers(420, 720)), int(rng.integers(420, 720))
        kind = int(rng.integers(4))
        ground, ink = (
            ((30, 30, 30), (210, 210, 200)) if kind == 3 and rng.random() < 0.6 else ((255, 255, 255), (20, 20, 20))
        )
        img = Image.new("RGB", (w, h), ground)
        draw = ImageDraw.Draw(img)
        size = int(rng.integers(26, 44)) if kind == 2 else int(rng.integers(12, 22))
        font = render._font(self.fonts[int(rng.integers(len(self.fonts)))]["file"], size)
        y = 20.0
        while y < h - 2 * size:
            text = self.ordinary[int(rng.integers(len(self.ordinary)))]
            if kind == 1:
                text = f"{text[:18]:<20}{rng.integers(1, 99)}.{rng.integers(10, 99)}"
            while text and font.getlength(text) > w - 50:
                text = text[:-3]
            draw.text((25 + (size * 2 * int(rng.integers(0, 3)) if kind == 3 else 0), y), text, fill=ink, font=font)
            y += size * (2.2 if kind == 2 else 1.4)
        return Picture("document", np.asarray(img).copy(), None, np.zeros((h, w), bool))


def main() -> None:
    """Contact sheet."""
    ap = argparse.ArgumentParser()
    ap.add_argument("--data")
    ap.add_argument("--part", default="test")
    ap.add_argument("--preview", default="out/testset.png")
    args = ap.parse_args()
    maker = Maker(render.assets.data_dir(args.data), args.part)
    print("clean", len(maker.clean), "scene", len(maker.scene))
    rows = []
    for kind in (*ATTACKS, *BENIGN):
        row = []
        for p in maker.pictures({kind: 8}):
            img = p.rgb.copy()
            if p.mask.any():
                edge = cv2.morphologyEx(p.mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
                img[edge] = [255, 0, 0]
            if p.alpha is not None:
                a = p.alpha[..., None] / 255
                img = (img * a + (0 if p.view == "over_black" else 255) * (1 - a)).astype(np.uint8)
            row.append(cv2.resize(img, (240, 180), interpolation=cv2.INTER_AREA))
        rows.append(np.concatenate(row + [np.zeros_like(row[0])] * (8 - len(row)), 1))
    cv2.imwrite(args.preview, np.concatenate(rows)[..., ::-1])


if __name__ == "__main__":
    main()
