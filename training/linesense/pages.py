"""Whole pictures with known writing: attacks of every type, and what they must not be confused with.

`Pages.compose(kind)` returns the picture (uint8 HxWx3, HxWx4 for `alpha`) and how far its writing can be told from what
lies under it. Benign kinds outnumber attacks: photographs (with and without captions, watermarks, signs), documents,
receipts, slides, code, menus, screenshots, recipes, manuals, forms, terms, chats, exams, mails, posters, memes,
subtitles, harmless lists and requests.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path

import cv2
import numpy as np
from corpus import Corpus
from PIL import Image, ImageDraw, ImageFont
from render import wrap

sys.path.append(str(Path(__file__).resolve().parents[1] / "adversarial"))  # behind, since it has a train.py too
from benign import DRAWN, artwork, drawn, enlarged, film

from ondevice_guard.evaluate import attacks

ATTACKS = (
    "figstep",
    "overlay",
    "rotated",
    "translucent",
    "low_contrast",
    "caption",
    "document_order",
    "screenshot_order",
    "scaling",
    "alpha",
)
BENIGN = (
    "photo",
    "photo",
    "photo",
    "watermark",
    "paper",
    "paper",
    "poster",
    "meme",
    "caption_ok",
    "document",
    "receipt",
    "slide",
    "code",
    "menu",
    "sign",
    "screenshot",
    "subtitle",
    "list_ok",
    "request_ok",
    "mixed",
)
#: Benign kinds that are documents in the sense of the figure "documents flagged <= 3 %".
DOCUMENTS = ("document", "receipt", "slide", "code", "menu", "screenshot", "mixed", "paper")
#: Contrast of ink over texture around it below which writing is not legible (the issue's own limit).
LEGIBLE = 2.5


class Pages:
    """Composes pictures.

    Args:
        corpus: Where the words come from.
        fonts: Font files.
        photos: RGB photographs, uint8 HxWx3.
        rng: Source of all randomness.
        accept: Whether a text belongs to this half of the part.
    """

    def __init__(
        self, corpus: Corpus, fonts: list[str], photos: list[np.ndarray], rng: random.Random, accept=lambda text: True
    ) -> None:
        self.corpus, self.fonts, self.photos, self.rng, self.accept = corpus, fonts, photos, rng, accept
        self.ratio = 100.0

    def text(self, *kinds: str) -> str:
        for _ in range(200):
            text = self.corpus.draw(self.rng.choice(kinds))[0]
            if self.accept(text) and sum(c.isascii() for c in text) > 0.97 * len(text) and len(text) < 420:
                return text
        raise RuntimeError(f"no acceptable text of {kinds}")

    def photo(self) -> np.ndarray:
        p = self.rng.choice(self.photos)
        side = self.rng.choice((448, 512, 640))
        s = side / max(p.shape[:2])
        return cv2.resize(
            p,
            (max(160, int(p.shape[1] * s)), max(160, int(p.shape[0] * s))),
            interpolation=cv2.INTER_AREA if s < 1 else cv2.INTER_LINEAR,
        )

    def page(self) -> np.ndarray:
        r = self.rng
        h, w = r.choice(((640, 640), (760, 760), (800, 620), (480, 720), (900, 680)))
        base = np.array(
            r.choice(
                (
                    (255, 255, 255),
                    (250, 250, 245),
                    (245, 240, 225),
                    (24, 26, 34),
                    (235, 242, 250),
                    (255, 252, 220),
                    (40, 44, 52),
                )
            )
        )
        return np.broadcast_to(base, (h, w, 3)).astype(np.uint8).copy()

    def write(
        self,
        img: np.ndarray,
        text: str,
        size: int,
        x: int,
        y: int,
        width: int,
        opacity: float = 1.0,
        colour=None,
        angle: float = 0.0,
        outline: bool = False,
        bottom: int | None = None,
        centre: bool = False,
        spread: float = 1.35,
    ) -> tuple[np.ndarray, list]:
        """Write wrapped text; return (picture, quads)."""
        r = self.rng
        face, H, W = r.choice(self.fonts), *img.shape[:2]
        while True:  # an order of which half is cut off is none: smaller, until all of it stands in the picture
            font = ImageFont.truetype(face, size, layout_engine=ImageFont.Layout.BASIC)
            per = max(6, int(width / max(1.0, font.getlength("etaoin shrdlu nest") / 18)))
            rows = wrap(text, per, r)
            while per > 6 and max(font.getlength(row) for row in rows) > min(width * 1.1, W - x):
                per -= 1
                rows = wrap(text, per, r)
            below = y + int(size * spread) * (len(rows) - 1) + font.getbbox(rows[-1])[3]
            if below <= (bottom or H - 4) or size <= 11:
                break
            if y > 10 and below - y < (bottom or H - 4) - 6:
                y = (bottom or H - 4) - (below - y)
            else:
                y, size = min(y, 10), int(size * 0.88)
        layer = Image.new("L", (W, H))
        draw = ImageDraw.Draw(layer)
        quads, at = [], y
        for line in rows:
            a, b, c, d = font.getbbox(line)
            if at + d > (bottom or H - 4):
                break
            if d - b < 3:
                continue
            ox = x + (max(0, int((width - (c - a)) / 2)) if centre else 0)
            draw.text((ox, at), line, font=font, fill=255)
            quads.append(np.array([[ox + a, at + b], [ox + c, at + b], [ox + c, at + d], [ox + a, at + d]], np.float32))
            at += int(size * spread)
        mask = np.asarray(layer)
        if angle and quads:
            m = cv2.getRotationMatrix2D((W / 2, H / 2), angle, 1.0)
            mask = cv2.warpAffine(mask, m, (W, H), flags=cv2.INTER_LINEAR)
            quads = [q @ m[:, :2].T.astype(np.float32) + m[:, 2].astype(np.float32) for q in quads]
            quads = [q for q in quads if (q > -0.05 * W).all() and (q < [1.05 * W, 1.05 * H]).all()]
        alpha = mask[..., None].astype(np.float32) / 255 * opacity
        if colour is None:
            under = img[mask > 20].mean() if (mask > 20).any() else img.mean()
            colour = np.array([r.randint(0, 70)] * 3 if under > 128 else [r.randint(200, 255)] * 3) + np.array(
                [r.randint(-30, 30) for _ in range(3)]
            )
        out = img.astype(np.float32)
        if outline:
            ring = cv2.dilate(mask, np.ones((3, 3), np.uint8))[..., None].astype(np.float32) / 255 * opacity
            out += (255 - np.clip(colour, 0, 255) - out) * ring
        out += (np.clip(colour, 0, 255) - out) * alpha
        final = np.clip(np.rint(out), 0, 255).astype(np.uint8)
        ink = mask > 90
        if ink.any():
            grey = img.astype(np.float32).mean(-1)
            ring = cv2.dilate(ink.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
            texture = float(np.abs(grey - cv2.blur(grey, (7, 7)))[ring].mean())
            change = np.abs(final.astype(np.float32) - img)[ink].max(-1).mean()
            self.ratio = min(self.ratio, float(change) / (texture + 0.5))
        return final, quads

    def finish(self, img: np.ndarray) -> np.ndarray:
        if self.rng.random() < 0.35:
            img = cv2.imdecode(
                cv2.imencode(".jpg", img, [cv2.IMWRITE_JPEG_QUALITY, self.rng.randint(55, 95)])[1], cv2.IMREAD_COLOR
            )
        return img

    def compose(self, kind: str) -> tuple[np.ndarray, float]:
        """Return (picture, contrast of its faintest ink over the texture around it)."""
        self.ratio = 100.0
        if kind == "scaling":
            return self.scaling(), self.ratio
        if kind == "alpha":
            return self.alpha(), self.ratio
        if kind == "ground":
            return self.ground(), self.ratio
        return self.draw(kind)[0], self.ratio

    def scaling(self) -> np.ndarray:
        """Writing that shows only when the picture is reduced without antialiasing."""
        r = self.rng
        small, factor = r.choice((224, 336)), r.choice((3, 4))
        photo = cv2.resize(r.choice(self.photos), (small * factor,) * 2, interpolation=cv2.INTER_CUBIC)
        under = cv2.resize(photo, (small, small), interpolation=cv2.INTER_AREA)
        if r.random() < 0.5:
            under = np.full_like(under, 255)
        text = self.text("order", "order", "order", "harm")[:90]
        payload, _ = self.write(under, text, r.randint(16, 26) if small > 300 else r.randint(14, 20), 6, 6, small - 12)
        return attacks.image_scaling(
            photo, payload, kernel=r.choice(("nearest", "bilinear")), strength=r.uniform(0.7, 1)
        )

    def alpha(self) -> np.ndarray:
        """Writing that shows on one background only, or only once alpha is dropped."""
        r = self.rng
        photo = self.photo()
        page, _ = self.write(
            np.full_like(photo, 255),
            self.text("order", "order", "order", "harm"),
            r.randint(18, 34),
            10,
            10,
            photo.shape[1] - 20,
            colour=np.zeros(3),
        )
        if r.random() < 0.5:
            return attacks.alpha_drawn(page)
        out = np.dstack([np.full_like(photo, r.choice((0, 255))), 255 - page.min(-1)])
        return np.ascontiguousarray(out)

    def ground(self) -> np.ndarray:
        """A picture without writing in which the text map may find lines all the same, as desktops and editors have them: drawn,
        enlarged and grained, or full of fine structure. It teaches the judge, and is not among the benign kinds of the figures,
        whose share of plain photographs it would raise."""
        r, rng = self.rng, np.random.default_rng(self.rng.getrandbits(32))
        kind, photo = r.random(), r.choice(self.photos)
        if kind < 0.2:
            return drawn(photo, rng, r.choice(list(DRAWN)))
        pixels = np.exp(r.uniform(np.log(0.3e6), np.log(6e6)))
        if kind < 0.6:
            wide = np.sqrt(pixels * r.choice((1.0, 4 / 3, 16 / 9)))
            return artwork(rng, int(pixels / wide), int(wide))
        pixels = max(pixels, photo.shape[0] * photo.shape[1])
        img = enlarged(photo, pixels, r.choice((cv2.INTER_CUBIC, cv2.INTER_LINEAR)))
        return self.finish(film(img, rng) if r.random() < 0.5 else img)

    def draw(self, kind: str) -> tuple[np.ndarray, list]:
        """Return (picture, quads of its lines) of a kind whose writing shows as it is."""
        r = self.rng
        if kind == "watermark":
            img = self.photo()
            text = r.choice(("(c) 20{n} Photo", "sample", "www.{w}.com", "{w} {w}", "{n}/{n}/20{n}", "PREVIEW", "@{w}"))
            h, w = img.shape[:2]
            return self.finish(
                self.write(
                    img,
                    self.corpus.writer.fill(text),
                    r.randint(12, 24),
                    r.randint(4, w // 2),
                    h - 34,
                    w // 2,
                    r.uniform(0.3, 0.9),
                )[0]
            ), []
        if kind in ("paper", "poster"):
            names = ("cook", "manual", "dialog", "form", "legal", "chat", "exam", "mail", "news", "cmt")
            name = "poster" if kind == "poster" else r.choice(names)
            img = self.page() if kind == "paper" or r.random() < 0.5 else self.photo()
            rows = [
                self.corpus.writer.slots("{" + name + "}")
                for _ in range(r.randint(2, 6) if kind == "poster" else r.randint(3, 16))
            ]
            size = r.randint(20, 44) if kind == "poster" else r.randint(14, 28)
            text = "\n".join(rows) if r.random() < 0.75 else " ".join(rows)
            img, q = self.write(img, text, size, r.randint(10, 60), r.randint(10, 60), img.shape[1] - 90)
            return self.finish(img), q
        if kind == "meme":
            img = self.photo()
            h, w = img.shape[:2]
            rows = self.corpus.writer.slots(r.choice(("{meme}", "{meme}", "{film}"))).split(" / ")
            for row, y in zip(rows, (6, int(h * 0.75)), strict=False):
                row = row.upper() if r.random() < 0.6 else row
                img, q = self.write(
                    img,
                    row,
                    r.randint(18, 34),
                    10,
                    y,
                    w - 20,
                    colour=np.full(3, 255),
                    outline=r.random() < 0.8,
                    centre=True,
                )
            return self.finish(img), q
        if kind == "photo":
            return self.finish(self.photo()), []
        if kind in ("figstep", "list_ok"):
            while True:
                text, labels = (
                    self.corpus.writer.figstep(self.corpus.writer.harm_phrase(self.corpus.phrases), frozenset({"harm"}))
                    if kind == "figstep"
                    else self.corpus.writer.request()
                )
                if self.accept(text) and (kind == "figstep" or ("\n" in text and "list" not in labels)):
                    break
            img = self.page()
            size = r.randint(28, 72)
            img, q = self.write(
                img, text, size, r.randint(10, 60), r.randint(10, 120), img.shape[1] - 80, spread=r.uniform(1.15, 1.7)
            )
            return self.finish(img), q
        if kind in (
            "overlay",
            "rotated",
            "translucent",
            "low_contrast",
            "caption",
            "caption_ok",
            "subtitle",
            "request_ok",
        ):
            flat = (kind == "low_contrast" and r.random() < 0.6) or (kind == "request_ok" and r.random() < 0.5)
            img = self.page() if flat else self.photo()
            h, w = img.shape[:2]
            text = (
                self.text("order", "order", "order", "harm", "injection")
                if kind in ATTACKS
                else self.text("request", "benign")
                if kind == "request_ok"
                else self.text("plain", "request", "ordinary", "benign")
            )
            text = text.replace("\n", " ") if kind in ("overlay", "rotated", "translucent") else text
            size = r.randint(16, 40) if len(text) < 120 else r.randint(13, 22)
            opacity, colour = 1.0, None
            if kind == "translucent":
                opacity = r.uniform(0.15, 0.5)
            if kind == "low_contrast":
                mean = img.mean((0, 1))
                colour = mean + (1 if mean.mean() < 128 else -1) * r.uniform(6, 20)
                opacity = 1.0
            if kind in ("caption", "subtitle", "caption_ok"):
                y = r.choice((6, int(h * 0.72)))
                img, q = self.write(img, text, size, 12, y, w - 24, outline=r.random() < 0.6, centre=r.random() < 0.7)
            elif kind == "rotated":
                img, q = self.write(
                    img,
                    text,
                    size,
                    int(w * 0.18),
                    int(h * 0.3),
                    int(w * 0.62),
                    angle=r.uniform(-75, 75),
                    outline=r.random() < 0.3,
                )
            else:
                img, q = self.write(
                    img,
                    text,
                    size,
                    r.randint(6, 40),
                    r.randint(6, max(7, int(h * 0.5))),
                    int(w * r.uniform(0.6, 0.9)),
                    opacity,
                    colour,
                    outline=opacity == 1 and not flat and r.random() < 0.4,
                )
            return self.finish(img), q
        if kind in ("document", "document_order", "mixed"):
            img = self.page()
            h, w = img.shape[:2]
            size = r.randint(13, 22)
            parts = [
                self.text("plain", "plain", "benign" if kind == "mixed" else "plain") for _ in range(r.randint(3, 9))
            ]
            if kind == "document_order":
                parts.insert(r.randint(0, len(parts)), self.text("order"))
            if kind == "mixed":
                parts.insert(r.randint(0, len(parts)), self.text("request"))
            text = " ".join(parts) if r.random() < 0.4 else "\n".join(parts)
            img, q = self.write(img, text, size, r.randint(16, 60), r.randint(14, 60), w - 90)
            return self.finish(img), q
        writer = self.corpus.writer
        make = {
            "receipt": writer.receipt,
            "slide": writer.slide,
            "code": writer.code,
            "menu": writer.menu,
            "sign": writer.sign,
            "screenshot": writer.interface,
            "screenshot_order": writer.interface,
        }[kind]
        img = self.photo() if kind == "sign" else self.page()
        h, w = img.shape[:2]
        if kind == "sign":
            text = make()[0] if r.random() < 0.5 else writer.notice()
            return (lambda o: (self.finish(o[0]), o[1]))(
                self.write(
                    img,
                    text,
                    r.randint(20, 60),
                    r.randint(5, 60),
                    r.randint(5, max(6, h // 2)),
                    int(w * 0.8),
                    outline=r.random() < 0.3,
                )
            )
        text = "\n".join(make()[0] for _ in range({"receipt": 2, "slide": 1, "code": 4, "menu": 2}.get(kind, 3)))
        if kind == "screenshot_order":
            rows = text.split("\n")
            rows.insert(r.randint(0, len(rows)), self.text("order"))
            text = "\n".join(rows)
        size = {"slide": r.randint(22, 44), "code": r.randint(13, 20)}.get(kind, r.randint(14, 26))
        img, q = self.write(img, re.sub(r"\s+\n", "\n", text), size, r.randint(14, 80), r.randint(10, 60), w - 100)
        return self.finish(img), q
