"""Writing in the picture: where it is, whether it was put there, whether it hides. Nothing is ever transcribed.

The text map (`models/textmap_v1`) runs over every view; the native core turns its answer into lines. Three findings
come from where lines are and in which view they show:

* `overlay_text`: lines that lie on the picture rather than in the scene;
* `hidden_text`: lines that show in one view of the picture (another background, a naive reduction) and not in the
  original, or that a human eye hardly separates from what is around them;
* `scaling`: lines that a reduction without antialiasing brings out and a reduction with it does not.

`qr_code` needs no model. What lines *say* is the line reader's part: see `LineReader`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .. import _core, linereader, runtime
from ..errors import ModelError
from ..types import Finding, Pixels, Quad, View, Views

Floats = npt.NDArray[np.float32]

MODEL = "textmap_v1"
#: More pixels than this are reduced first: no model of `views.PROFILES` looks at more than 1.1 million.
MAX_PIXELS = 4_000_000
#: Edges that models reduce to (views.PROFILES and their common variants); a scaling attack aims at one of them.
TARGETS = (224, 256, 299, 336, 384, 448, 512)
#: A sampling grid counts from here on. 16 attacks at ratios 3 and 4: log_ratio >= .54, z >= 31; 15 benign pictures:
#: log_ratio <= .4 or z <= 12 (see cpp/include/ondevice_guard/signal.hpp for both).
GRID_RATIO, GRID_Z = 0.4, 18.0
#: Logit of the line core from which a cell belongs to a line. Against 0 it finds 5 % more of translucent and 8 % more of
#: faint pictures at the same false positives, and widens regions where the map is unsure (pixel F1 .46 → .51).
CORE_LOGIT = -0.5
#: Lines below this are not worth a strip for the line reader.
READ_FLOOR = 0.25
#: Lines read in one view: a page of a book has about fifty.
MAX_READ = 64


@dataclass(frozen=True)
class Lines:
    """Lines of writing seen in one view, strongest first.

    Attributes:
        view: The view.
        quads: float32 N x 4 x 2, in the view's pixels, clockwise from the start of the line.
        text, overlay, core, direction, fill: float32 N, in [0, 1]; see cpp/include/ondevice_guard/typographic.hpp.
    """

    view: View
    quads: Floats
    text: Floats
    overlay: Floats
    core: Floats
    direction: Floats
    fill: Floats

    def __len__(self) -> int:
        return len(self.quads)

    def take(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Lines:
        """Return some of the lines."""
        return Lines(
            self.view, *(v[keep] for v in (self.quads, self.text, self.overlay, self.core, self.direction, self.fill))
        )

    @property
    def length(self) -> Floats:
        """Length of each line in the view's pixels."""
        return np.asarray(np.linalg.norm(self.quads[:, 1] - self.quads[:, 0], axis=-1), np.float32)

    @property
    def height(self) -> Floats:
        """Height of each line in the view's pixels."""
        return np.asarray(np.linalg.norm(self.quads[:, 3] - self.quads[:, 0], axis=-1), np.float32)

    def weight(self) -> Floats:
        """How much each line counts as writing: sureness times how line-like it is (aspect, up to 12)."""
        aspect = np.minimum(self.length / np.maximum(self.height, 1), 12)
        tall = self.height > 0.4 * max(self.view.pixels.shape[:2])
        return np.asarray(self.core * self.text * self.fill * np.maximum(aspect - 0.8, 0) * ~tall, np.float32)

    def in_original(self) -> list[Quad]:
        """Quadrilaterals in the original's pixels."""
        return [self.view.to_original(tuple((float(x), float(y)) for x, y in q)) for q in self.quads]  # type: ignore[arg-type]


class LineReader(Protocol):
    """What `read_lines` needs of a line reader: strips in, evidence out, and one score for all lines of a view."""

    models: Mapping[str, str]

    def read(self, strips: Sequence[Pixels]) -> Floats:
        """Return float32 N x E evidence for N grey strips, uint8 32 x W."""
        ...

    def threshold(self, fpr: float) -> float:
        """Return the operating point of `typographic` at a false-positive rate; ModelError where there is none."""
        ...

    def orders(self, evidence: Floats, lines: Lines) -> tuple[float, Floats]:
        """Return the probability that the view gives orders, and how much each line takes part in it (N, in [0, 1])."""
        ...


def read_lines(pixels: Pixels, quads: Floats, reader: LineReader, threads: int = 1) -> Floats:
    """Cut lines out of a view, upright and 32 pixels high, and let the reader look at them.

    Args:
        pixels: uint8 HxWx3.
        quads: float32 N x 4 x 2, clockwise from the start of the line.
        reader: The line reader.
        threads: Native threads.

    Returns:
        float32 N x E, the reader's evidence.
    """
    return reader.read(_core.typographic.rectify(pixels, quads, height=32, max_width=1024, threads=threads))


def read_qr(pixels: Pixels) -> list[str]:
    """Decode QR codes, so that what they say can go to the text policy.

    Args:
        pixels: uint8 HxWx3.

    Returns:
        The texts of all codes that OpenCV (extra `opencv`) decodes; empty when it is not installed, or when the native
        search sees no finder patterns.
    """
    quads, _ = _core.typographic.find_qr(pixels)
    if not len(quads):
        return []
    try:
        import cv2
    except ImportError:
        return []
    texts = []
    reader = cv2.QRCodeDetector()
    for quad in quads:
        lengths = np.linalg.norm(quad - np.roll(quad, -1, 0), axis=-1)
        # a square strip: upright, twice the size where it fits, so that small modules span several pixels
        side = int(np.clip(2 * lengths.max(), 96, 256))
        (strip,) = _core.typographic.rectify(pixels, quad[None], height=side, max_width=2 * side)
        text, *_ = reader.detectAndDecode(np.pad(strip, 24, constant_values=int(strip.max())))
        if text:
            texts.append(text)
    return texts


class TypographicDetector:
    """Finds writing in all views of a picture.

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Threads inside one call.
        reader: A line reader; None loads `linereader.LineReader` from `models`.

    Raises:
        ModelError: The text map is missing or altered.
    """

    name = "typographic"

    def __init__(self, models: str | Path | None = None, threads: int = 1, reader: LineReader | None = None) -> None:
        self._model = runtime.load(MODEL, models, threads)
        config = self._model.config
        try:
            code, evidence = config["output"]["map"], config["evidence"]
            self._scale, self._zero = float(code["scale"]), int(code["zero"])
            self._curves = {
                kind: (float(evidence[kind]["bias"]), float(evidence[kind]["slope"]))
                for kind in ("overlay_text", "hidden_text", "scaling")
            }
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{MODEL}: config.json lacks output or evidence: {error!r}") from error
        self._threads = threads
        self._reader: LineReader = reader or linereader.LineReader(models, threads)
        self.models = {
            self._model.name: "sha256:" + config["files"][config["graph"]]["sha256"][:16],
            **self._reader.models,
        }
        self.kinds: tuple[str, ...] = (
            "overlay_text",
            "hidden_text",
            "scaling",
            "qr_code",
            "typographic",
        )

    def operating_points(self, fpr: float) -> dict[str, float]:
        """Return kind → threshold at a false-positive rate, for the kinds whose rate the model's config records."""
        points = {}
        for kind in self.kinds:
            try:
                points[kind] = (
                    self._reader.threshold(fpr) if kind == "typographic" else self._model.threshold(kind, fpr)
                )
            except ModelError:
                continue
        return points

    def __call__(self, views: Views) -> Sequence[Finding]:
        """Return one finding for each kind of `kinds`, low scores included."""
        seen = self.lines(_distinct([views.original, *views.items.values()]))
        original = seen[0]
        aliased = self._aliased(original)
        return [
            self._overlay(seen),
            self._hidden(original, seen, aliased),
            self._scaling(aliased),
            self._qr(views.original),
            *self._orders(seen, aliased),
        ]

    def lines(self, views: Iterable[View]) -> list[Lines]:
        """Run the text map, views of one shape in one batch, and return the lines of each view in the order given."""
        looked = [_reduced(v, self._threads) for v in views]
        inputs = [_core.typographic.patches(v.pixels, threads=self._threads) for v in looked]
        maps: dict[int, Pixels] = {}
        for shape in dict.fromkeys(x.shape for x in inputs):
            batch = [i for i, x in enumerate(inputs) if x.shape == shape]
            answer = self._model.run({"patches": np.stack([inputs[i] for i in batch])})[0]
            for i, one in zip(batch, answer, strict=True):
                maps[i] = np.ascontiguousarray(one)
        found = []
        for i, view in enumerate(looked):
            quads, facts = _core.typographic.find_lines(
                maps[i], scale=self._scale, zero=self._zero, threshold=CORE_LOGIT
            )
            h, w = view.pixels.shape[:2]
            inside = (quads.mean(1) < [w, h]).all(-1)  # the padding may repeat a line of the edge
            lines = Lines(view, quads[inside], *(np.ascontiguousarray(c) for c in facts[inside].T[:5]))
            found.append(lines.take(np.argsort(-lines.weight(), kind="stable")))
        return found

    def _probability(self, kind: str, evidence: float) -> float:
        bias, slope = self._curves[kind]
        return 1.0 / (1.0 + math.exp(-(bias + slope * math.log(evidence + 1e-3))))

    def _overlay(self, seen: list[Lines]) -> Finding:
        best, evidence = max(((s, float((s.weight() * s.overlay**2).sum())) for s in seen), key=lambda t: t[1])
        keep = best.take((best.weight() * best.overlay) > 0.3)
        score = self._probability("overlay_text", evidence)
        why = (
            f"{len(keep)} line{'s' * (len(keep) != 1)} of writing laid over the picture"
            if len(keep)
            else "no writing laid over the picture"
        )
        return Finding(
            "overlay_text",
            score,
            why,
            self._model.name,
            tuple(keep.in_original()),
            best.view.name,
            detail={"lines": len(keep)},
        )

    def _hidden(self, original: Lines, seen: list[Lines], aliased: tuple[Lines, float] | None) -> Finding:
        best, evidence, where = original, 0.0, np.zeros(len(original), np.float32)
        faint = _faintness(original, self._threads) * original.weight() * original.overlay
        if len(faint):
            evidence, where = float(faint.sum()), faint
        for s in seen:
            if s.view.name in ("over_white", "over_black", "contrast"):
                gap = s.weight() * _unmatched(s, original)
                if float(gap.sum()) > evidence:
                    best, evidence, where = s, float(gap.sum()), gap
        if aliased and aliased[1] > evidence:
            best, evidence = aliased
            where = best.weight()
        keep = best.take(where > 0.3)
        place = (
            "hardly to be told from what lies around it"
            if best is original
            else f"that shows as {best.view.name} and not in the picture itself"
        )
        why = f"{len(keep)} line{'s' * (len(keep) != 1)} of writing {place}" if len(keep) else "no hidden writing"
        score = self._probability("hidden_text", evidence)
        return Finding(
            "hidden_text",
            score,
            why,
            self._model.name,
            tuple(keep.in_original()),
            best.view.name,
            detail={"lines": len(keep)},
        )

    def _scaling(self, aliased: tuple[Lines, float] | None) -> Finding:
        if aliased is None:
            return Finding("scaling", 0.0, "no reduction brings out writing", self._model.name)
        lines, evidence = aliased
        keep = lines.take(lines.weight() > 0.3)
        why = (
            f"writing appears when the picture is reduced ({lines.view.name})"
            if len(keep)
            else "no reduction brings out writing"
        )
        return Finding(
            "scaling",
            self._probability("scaling", evidence),
            why,
            self._model.name,
            tuple(keep.in_original()),
            lines.view.name,
        )

    def _aliased(self, original: Lines) -> tuple[Lines, float] | None:
        """Look at the picture through the naive reductions that its sampling grid, if it has one, was made for.

        Returns:
            The lines that only the naive reduction shows (not an honest one of the same size, not the picture itself:
            small print looks different in every reduction), and their evidence; None for pictures without such a grid.
        """
        pixels = original.view.pixels
        h, w = pixels.shape[:2]
        grid = _core.signal.sampling_grid(pixels, threads=self._threads)
        if grid.log_ratio < GRID_RATIO or grid.z < GRID_Z:
            return None
        th, tw = (_snapped(n * f) for n, f in ((h, grid.frequency_y), (w, grid.frequency_x)))
        scale = (w / tw * original.view.scale[0], h / th * original.view.scale[1])
        views = [
            View(
                f"{name} {tw}x{th}",
                _core.views.resize(pixels, th, tw, kernel, antialias=antialias, threads=self._threads),
                scale,
            )
            for name, kernel, antialias in (
                ("area", "area", True),
                ("nearest (Pillow)", "nearest", True),
                ("nearest (OpenCV)", "nearest", False),
                ("bilinear (OpenCV)", "bilinear", False),
            )
        ]
        honest, *naive = self.lines(views)
        best: tuple[Lines, float] | None = None
        for shown in naive:
            only = np.minimum(_unmatched(shown, honest), _unmatched(shown, original))
            evidence = float((shown.weight() * only).sum())
            if best is None or evidence > best[1]:
                best = shown.take(only > 0.5), evidence
        return best

    def _qr(self, original: View) -> Finding:
        quads, scores = _core.typographic.find_qr(original.pixels)
        if not len(scores):
            return Finding("qr_code", 0.0, "no QR code", "finder patterns")
        regions = tuple(original.to_original(tuple((float(x), float(y)) for x, y in q)) for q in quads)  # type: ignore[arg-type]
        return Finding(
            "qr_code",
            float(scores.max()),
            f"{len(scores)} QR code{'s' * (len(scores) != 1)}",
            "finder patterns",
            regions,
        )

    def _orders(self, seen: list[Lines], aliased: tuple[Lines, float] | None) -> list[Finding]:
        best: Finding | None = None
        for s in [*seen, *([aliased[0]] if aliased else [])]:
            lines = s.take(np.flatnonzero(s.weight() > READ_FLOOR)[:MAX_READ])
            score, part = 0.0, np.zeros(0, np.float32)
            if len(lines):
                evidence = read_lines(lines.view.pixels, lines.quads, self._reader, self._threads)
                score, part = self._reader.orders(evidence, lines)
            if best is None or score > best.score:
                keep = lines.take(part > 0.5)
                why = (
                    f"{len(keep)} of {len(lines)} lines of writing read like orders"
                    if len(keep)
                    else "no writing that gives orders"
                )
                best = Finding(
                    "typographic",
                    score,
                    why,
                    ", ".join(self.models),
                    tuple(keep.in_original()),
                    s.view.name,
                    detail={"lines": len(lines)},
                )
        assert best is not None  # `seen` always holds the original
        return [best]


def _distinct(views: Iterable[View]) -> list[View]:
    """Leave out views that show the very pixels of an earlier one."""
    kept: list[View] = []
    for v in views:
        if not any(
            v.pixels is k.pixels or (v.pixels.shape == k.pixels.shape and np.array_equal(v.pixels, k.pixels))
            for k in kept
        ):
            kept.append(v)
    return kept


def _reduced(view: View, threads: int) -> View:
    """Return the view at no more than MAX_PIXELS."""
    h, w = view.pixels.shape[:2]
    if h * w <= MAX_PIXELS:
        return view
    ratio = math.sqrt(h * w / MAX_PIXELS)
    th, tw = max(1, int(h / ratio)), max(1, int(w / ratio))
    small = _core.views.resize(view.pixels, th, tw, "area", antialias=True, threads=threads)
    return View(view.name, small, (view.scale[0] * w / tw, view.scale[1] * h / th), view.offset)


def _unmatched(lines: Lines, others: Lines) -> Floats:
    """For each line, 1 where no line of `others` lies over its centre, falling to 0 where a sure one does."""
    out = np.ones(len(lines), np.float32)
    for i, quad in enumerate(lines.in_original()):
        centre = np.mean(quad, 0)
        for j, other in enumerate(others.in_original()):
            (x0, y0), (x1, y1), _, (x3, y3) = other
            along, down = np.array([x1 - x0, y1 - y0]), np.array([x3 - x0, y3 - y0])
            at = centre - [x0, y0]
            s, t = at @ along / max(along @ along, 1e-6), at @ down / max(down @ down, 1e-6)
            if -0.25 < s < 1.25 and -0.5 < t < 1.5:
                out[i] = min(out[i], 1 - float(others.core[j] * others.text[j]))
    return out


def _faintness(lines: Lines, threads: int) -> Floats:
    """For each line, 1 where its strip holds hardly any contrast (6 grey levels), 0 from 24 grey levels on.

    Contrast = 95th less 5th percentile of the strip's grey values.
    """
    if not len(lines):
        return np.zeros(0, np.float32)
    out = []
    for strip in _core.typographic.rectify(lines.view.pixels, lines.quads, height=32, max_width=512, threads=threads):
        v = strip.astype(np.float32)
        spread = np.percentile(v, 95) - np.percentile(v, 5)
        out.append(float(np.clip((24 - spread) / 18, 0, 1)))
    return np.array(out, np.float32)


def _snapped(size: float) -> int:
    """Return the edge of TARGETS within 5 % of an estimated one (the grid's frequency is that coarse), else itself."""
    near = min(TARGETS, key=lambda t: abs(t - size))
    return near if abs(near - size) <= 0.05 * near else max(16, round(size))
