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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from .. import _core, linereader, runtime
from ..errors import ModelError
from ..types import Finding, Pixels, Quad, View, Views

Floats = npt.NDArray[np.float32]
#: One side of a tile: pixels looked at, from and to, then those of them whose answer is kept.
Span = tuple[int, int, int, int]

MODEL = "textmap_v1"
#: What has more pixels (more than 1920 x 1080) is looked at twice: reduced to this, then tile by tile at its own size, where
#: models with native resolution read print that the reduction has lost. Larger pictures have more places where grain looks like
#: faint writing: of 24 photographs enlarged to 12 megapixels, with film grain, JPEG 92, this detector alone has 11 sanitized when
#: they are reduced to 4,000,000, and 5 now; of the same at 4 megapixels 7 and 4.
WHOLE_PIXELS = 2_100_000
#: What has fewer pixels (fewer than 640 x 640) is shown to the map enlarged up to so many times, as half of its training
#: samples are: letters of 7 pixels x-height span more of its cells, which lie 4 pixels apart. With a map that was not trained
#: so, on the training part at 5 % of 324 clean photographs: faint writing .45 → .50, translucent .81 → .88, pixel F1 of turned
#: writing .86 → .89; twice the size instead: .47, .85, .86.
SMALL_PIXELS, ENLARGE = 409_600, 4 / 3
#: Pixels of one run of the text map.
MAX_PIXELS = 4_000_000
#: At its own size a picture counts for lines of up to FINE_HEIGHT pixels, the reduced one showing what is larger, whose core is
#: as sure as FINE_CORE: a picture of 12 megapixels has fifty times the places of one of 500 x 500 where something looks like a
#: line. On 46 pictures of 4 to 18 megapixels without writing (wallpapers of Debian's desktops, photographs of the training
#: part enlarged and grained or laid side by side) 70 % are flagged at the point for 5 % by all lines and 11 % by these; of 72
#: with writing of 6 to 20 pixels x-height, 99 % and 96 % are found. Of more than FINE_LINES the smallest are not looked at.
FINE_HEIGHT, FINE_CORE, FINE_LINES = 64.0, 0.75, 1024
#: Edges that models reduce to (views.PROFILES and their common variants); a scaling attack aims at one of them.
TARGETS = (224, 256, 299, 336, 384, 448, 512)
#: A sampling grid this strong is worth four more views of the picture: routing, since what those views show makes the
#: score. 16 attacks at ratios 3 and 4: log_ratio >= .54, z >= 31; 15 benign pictures: log_ratio <= .4 or z <= 12 (see
#: cpp/include/ondevice_guard/signal.hpp for both).
GRID_RATIO, GRID_Z = 0.4, 18.0
#: Logit of the line core from which a cell belongs to a line. Against 0 it finds 5 % more of translucent and 8 % more of
#: faint pictures at the same false positives, and widens regions where the map is unsure (pixel F1 .46 → .51).
CORE_LOGIT = -0.5
#: Lines of one view, the largest: a page of a book has about fifty.
MAX_LINES = 256
#: Lines below this are not worth a strip for the line reader.
READ_FLOOR = 0.25
#: Lines read in one view.
MAX_READ = 64
#: The cells (4 x 4 pixels) that a trace of writing is read from, and how much it counts beside lines. Where lines are unsure
#: or none is found it still tells writing laid over a picture from clean photographs. On the training part, AUROC of
#: translucent and of faint writing: .954 and .807 with a trace of 512 cells that counts .01, .959 and .813 with these; a
#: weight of 1 finds a thirtieth less of the faint at 5 %.
TRACE_CELLS, TRACE_WEIGHT = 1024, 0.1
#: A line is a region of a finding from this probability of having been put there. On the training part .15 to .5 differ by
#: .02 of pixel F1 on plain overlays and .04 on translucent ones; the lower the fuller, and redaction wants whole lines.
KEEP = 0.25


@dataclass(frozen=True)
class Lines:
    """Lines of writing seen in one view, strongest first.

    Attributes:
        view: The view.
        quads: float32 N x 4 x 2, in the view's pixels, clockwise from the start of the line.
        text, overlay, core, direction, fill: float32 N, in [0, 1]; see cpp/include/ondevice_guard/typographic.hpp.
        contrast, along, across: float32 N, grey levels of the line's strip: standard deviation, and mean difference of
            neighbours along and across the line.
        put: float32 N, the probability that the line was put on the picture: neither the scene's own nor no writing.
        trace: How far the map's strongest `TRACE_CELLS` cells are laid over the view, in [0, 1]; what ranks views in which no
            line was found.
    """

    view: View
    quads: Floats
    text: Floats
    overlay: Floats
    core: Floats
    direction: Floats
    fill: Floats
    contrast: Floats
    along: Floats
    across: Floats
    put: Floats
    trace: float = 0.0

    def __len__(self) -> int:
        return len(self.quads)

    def take(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Lines:
        """Return some of the lines."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _OF_EACH_LINE})

    @cached_property
    def length(self) -> Floats:
        """Length of each line in the view's pixels."""
        return _norms(self.quads[:, 1] - self.quads[:, 0])

    @cached_property
    def height(self) -> Floats:
        """Height of each line in the view's pixels."""
        return _norms(self.quads[:, 3] - self.quads[:, 0])

    @cached_property
    def line_like(self) -> Floats:
        """Aspect over 0.8, up to 12; 0 for what is too tall to be a line of the picture."""
        aspect = np.minimum(self.length / np.maximum(self.height, 1), 12)
        tall = self.height > 0.4 * max(self.view.pixels.shape[:2])
        return np.asarray(np.maximum(aspect - 0.8, 0) * ~tall, np.float32)

    @cached_property
    def ink(self) -> Floats:
        """1 where a line deviates by 2.4 grey levels (ink 6 levels off) or more, 0 from 1.2 down.

        Bands and blocks of smooth grounds lie below: of faint writing in calibration pictures 1 line in 100 deviates by less
        than 3.3, of what the map finds on desktop backgrounds 10 in 100 by less than 1.5.
        """
        return np.asarray(np.clip((self.contrast - 1.2) / 1.2, 0, 1), np.float32)

    def weight(self) -> Floats:
        """How much each line counts as writing: sureness times how line-like it is."""
        return np.asarray(self.core * self.text * self.fill * self.line_like * self.ink, np.float32)

    @cached_property
    def laid(self) -> Floats:
        """How much each line counts as writing that was put on the picture.

        The cube lets one sure line outweigh many doubtful ones: at 1 % false positives it finds a tenth more of the
        translucent and overlaid pictures than the plain sum (benchmarks/typographic.py).
        """
        return np.asarray(self.put**3 * self.line_like * self.ink, np.float32)

    def faint(self) -> Floats:
        """1 where a line holds hardly any contrast (deviation of 2.4 grey levels: ink 6 levels off), 0 from 24 levels on."""
        return np.asarray(np.clip((9.6 - self.contrast) / 7.2, 0, 1), np.float32)

    def traits(self) -> Floats:
        """Return float32 N x len(TRAITS), what `put` is computed from."""
        length, height = np.maximum(self.length, 1), np.maximum(self.height, 1)
        level = self.contrast + 1
        sure = np.clip(np.stack([self.text, self.overlay, self.core]), 1e-3, 1 - 1e-3)
        columns = (
            *np.log(sure / (1 - sure)),
            self.direction,
            self.fill,
            np.log(np.minimum(length / height, 14)),
            np.log(height),
            height / max(self.view.pixels.shape[:2]),
            np.log(level),
            self.along / level,
            self.across / level,
        )
        return np.stack(columns, -1).astype(np.float32)

    def in_original(self, which: npt.NDArray[np.intp] | slice = slice(None)) -> list[Quad]:
        """Quadrilaterals of some of the lines in the original's pixels."""
        return [self.view.to_original(tuple((float(x), float(y)) for x, y in q)) for q in self.quads[which]]  # type: ignore[arg-type]


_OF_EACH_LINE = tuple(f.name for f in fields(Lines))[1:-1]
#: Nothing of no line.
_NONE, _NOWHERE = np.zeros(0, np.float32), np.zeros(0, np.intp)

#: Names of the columns of `Lines.traits`: logits of the map's means, shape of the line, and its strip.
TRAITS = (
    "text",
    "overlay",
    "core",
    "direction",
    "fill",
    "log_aspect",
    "log_height",
    "share_of_side",
    "log_contrast",
    "along",
    "across",
)


@dataclass(frozen=True)
class Seen:
    """What was seen of one picture: everything that findings are made of.

    Attributes:
        original: Lines of the picture itself.
        others: Lines of the other views, and of large ones at their own size.
        honest: Lines of an antialiased reduction to the size that the picture's sampling grid aims at; None without grid.
        naive: Lines of reductions without antialiasing to that size.
    """

    original: Lines
    others: tuple[Lines, ...] = ()
    honest: Lines | None = None
    naive: tuple[Lines, ...] = ()

    @property
    def views(self) -> tuple[Lines, ...]:
        """Lines of the picture and its views, reductions for the grid left out."""
        return (self.original, *self.others)

    def each(self, change: Callable[[Lines], Lines]) -> Seen:
        """Return what was seen with the lines of every view changed."""
        honest = None if self.honest is None else change(self.honest)
        return Seen(change(self.original), tuple(map(change, self.others)), honest, tuple(map(change, self.naive)))

    @property
    def originals(self) -> list[Lines]:
        """Lines of the picture itself; of a large one reduced, then at its own size."""
        return [s for s in self.views if s.view.name == self.original.view.name]

    @property
    def trace(self) -> float:
        """The strongest trace of writing laid over any view."""
        return max(s.trace for s in self.views)

    def overlay(self) -> tuple[Lines, Floats]:
        """Lines of the view with the strongest evidence of writing laid over it, and each line's part."""
        best = max(self.views, key=lambda s: float(s.laid.sum()))
        return best, best.laid

    def hidden(self) -> tuple[Lines, Floats]:
        """Lines that hardly show: faint ones in the picture, or those that only another view shows."""
        found = [(s, s.laid * s.faint()) for s in self.originals]
        for s in self.others:
            if s.view.name in ("over_white", "over_black", "contrast"):
                found.append((s, s.laid * _unmatched(s, self.originals)))
        found.append(self.scaling())
        return max(found, key=lambda t: float(t[1].sum()))

    def scaling(self) -> tuple[Lines, Floats]:
        """Lines that only a naive reduction shows (not an honest one of the same size, not the picture itself: small
        print looks different in every reduction)."""
        found = [(self.original, np.zeros(len(self.original), np.float32))]
        if self.honest is not None:
            for s in self.naive:
                found.append((s, s.laid * _unmatched(s, [self.honest, *self.originals])))
        return max(found, key=lambda t: float(t[1].sum()))


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
            self._curve = float(evidence["curve"]["bias"]), float(evidence["curve"]["slope"])
            line = evidence["line"]
            self._line = float(line["bias"]), np.array([line["weights"][t] for t in TRAITS], np.float32)
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
        seen = self.look(views)
        return [
            self._overlay(seen),
            self._hidden(seen),
            self._scaling(seen),
            self._qr(views.original),
            self._orders(seen),
        ]

    def look(self, views: Views) -> Seen:
        """Find the lines of all views, of large ones at two sizes, and of naive reductions where the picture has a sampling
        grid."""
        distinct = _distinct([views.original, *views.items.values()])
        large = [v for v in distinct if v.pixels.shape[0] * v.pixels.shape[1] > WHOLE_PIXELS]
        original, *others = self.lines(_reduced(v, self._threads) for v in distinct)
        others += self.lines(large, fine=True)
        reduced = self.lines(self._reductions(views))
        return Seen(original, tuple(others), reduced[0] if reduced else None, tuple(reduced[1:]))

    def lines(self, views: Iterable[View], fine: bool = False) -> list[Lines]:
        """Run the text map and return the lines of each view in the order given, or only those that count where a large view is
        looked at in its own size; then there is no trace. Quadrilaterals are in the view's pixels, whatever size the map saw."""
        looked = list(views)
        found = []
        shown = [v.pixels if fine else _enlarged(v, self._threads) for v in looked]
        for view, picture, answer in zip(looked, shown, self._maps(shown), strict=True):
            quads, facts = _core.typographic.find_lines(
                answer,
                scale=self._scale,
                zero=self._zero,
                threshold=CORE_LOGIT,
                limit=FINE_LINES if fine else MAX_LINES,
            )
            trace = 0.0 if fine else self._trace(answer)
            if fine:
                sure = (facts[:, 2] >= FINE_CORE) & (_norms(quads[:, 3] - quads[:, 0]) <= FINE_HEIGHT)
                quads, facts = np.ascontiguousarray(quads[sure][:MAX_LINES]), facts[sure][:MAX_LINES]
            if not len(quads):  # as in four of five photographs: nothing to judge
                found.append(Lines(view, quads, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, trace))
                continue
            h, w = view.pixels.shape[:2]
            quads = quads * np.array([w / picture.shape[1], h / picture.shape[0]], np.float32)
            inside = (quads.mean(1) < [w, h]).all(-1)  # the padding may repeat a line of the edge
            quads, facts = np.ascontiguousarray(quads[inside]), facts[inside]
            strips = _strip_statistics(view.pixels, quads, self._threads)
            text, overlay, core, direction, fill = (np.ascontiguousarray(c) for c in facts.T[:5])
            contrast, along, across = (np.ascontiguousarray(c) for c in strips.T)
            unjudged = np.zeros(len(quads), np.float32)
            lines = self.judged(
                Lines(
                    view,
                    quads,
                    text,
                    overlay,
                    core,
                    direction,
                    fill,
                    contrast,
                    along,
                    across,
                    unjudged,
                    trace,
                )
            )
            found.append(lines.take(np.argsort(-lines.weight(), kind="stable")))
        return found

    def _maps(self, pictures: Sequence[Pixels]) -> list[Pixels]:
        """Run the text map on tiles, those of one shape together up to MAX_PIXELS, and put each picture's answer together:
        uint8 H/8 x W/8 x 14, the same bytes whether in tiles or whole."""
        maps: list[Pixels] = []
        tiles: dict[tuple[int, int], list[tuple[Pixels, Pixels, Span, Span]]] = {}
        for picture in pictures:
            h, w = picture.shape[:2]
            maps.append(np.empty((-(-h // 32) * 4, -(-w // 32) * 4, 14), np.uint8))
            down, across = _core.typographic.tiling(h, w, MAX_PIXELS)
            for y in down:
                for x in across:
                    shape = -(-(y[1] - y[0]) // 32), -(-(x[1] - x[0]) // 32)
                    tiles.setdefault(shape, []).append((picture, maps[-1], y, x))
        for (high, wide), alike in tiles.items():
            per = max(1, MAX_PIXELS // (high * wide * 1024))
            for start in range(0, len(alike), per):
                part = alike[start : start + per]
                inputs = [
                    _core.typographic.patches(p[y[0] : y[1], x[0] : x[1]], threads=self._threads) for p, _, y, x in part
                ]
                joined = np.stack(inputs) if len(inputs) > 1 else inputs[0][None]
                for (_, whole, y, x), one in zip(part, self._model.run({"patches": joined})[0], strict=True):
                    kept = one[
                        (y[2] - y[0]) // 8 : -(-(y[3] - y[0]) // 32) * 4,
                        (x[2] - x[0]) // 8 : -(-(x[3] - x[0]) // 32) * 4,
                    ]
                    whole[y[2] // 8 :, x[2] // 8 :][: kept.shape[0], : kept.shape[1]] = kept
        return maps

    def _trace(self, answer: Pixels) -> float:
        """Return the probability that the strongest overlay cells have by their mean logit."""
        overlay = answer[..., 4:8].ravel()
        cells = min(TRACE_CELLS, overlay.size)
        fallen = np.minimum(np.cumsum(np.bincount(overlay, minlength=256)[::-1]), cells)  # cells of level 255, 254 …
        mean = (int(fallen.sum()) - cells) / cells  # a cell counts once for its level and once for each below, 0 too
        return 1.0 / (1.0 + math.exp(-(mean - self._zero) * self._scale))

    def judged(self, lines: Lines) -> Lines:
        """Return the lines with `put` filled in: a logistic of their traits (`evidence.line` in config.json)."""
        bias, weights = self._line
        logit = bias + lines.traits() @ weights
        return replace(lines, put=np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))), np.float32))

    def _finding(self, kind: str, lines: Lines, part: Floats, some: str, none: str, trace: float = 0.0) -> Finding:
        """A finding from lines and how far each takes part: a logistic of the log of the sum of parts."""
        bias, slope = self._curve
        keep = np.flatnonzero((lines.put > KEEP) & (part > 0.1 * lines.laid) & (part > 0)) if len(lines) else _NOWHERE
        plural = "" if len(keep) == 1 else "s"
        return Finding(
            kind,
            1.0 / (1.0 + math.exp(-(bias + slope * log_evidence(part, trace)))),
            some.format(f"{len(keep)} line{plural} of writing") if len(keep) else none,
            self._model.name,
            tuple(lines.in_original(keep)),
            lines.view.name,
            detail={"lines": len(keep)},
        )

    def _overlay(self, seen: Seen) -> Finding:
        return self._finding(
            "overlay_text",
            *seen.overlay(),
            "{} laid over the picture",
            "no writing laid over the picture",
            seen.trace,
        )

    def _hidden(self, seen: Seen) -> Finding:
        lines, part = seen.hidden()
        place = (
            "hardly to be told from what lies around it"
            if lines.view.name == seen.original.view.name
            else f"seen as {lines.view.name} and not in the picture itself"
        )
        return self._finding("hidden_text", lines, part, "{} " + place, "no hidden writing")

    def _scaling(self, seen: Seen) -> Finding:
        lines, part = seen.scaling()
        some = f"a reduction brings out {{}} ({lines.view.name})"
        return self._finding("scaling", lines, part, some, "no reduction brings out writing")

    def _reductions(self, views: Views) -> list[View]:
        """Reduce the picture to the size that its sampling grid, if it has one, was made for: with antialiasing, then in
        the naive ways that scaling attacks aim at; empty for pictures without such a grid."""
        original, pixels = views.original, views.original.pixels
        h, w = pixels.shape[:2]
        grid = views.measured(_core.signal.sampling_grid, pixels, self._threads)
        if grid.evidence < 1 and (grid.log_ratio < GRID_RATIO or grid.z < GRID_Z):
            return []
        th, tw = (_snapped(n * f) for n, f in ((h, grid.frequency_y), (w, grid.frequency_x)))
        scale = (w / tw * original.scale[0], h / th * original.scale[1])
        return [
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

    def _orders(self, seen: Seen) -> Finding:
        found = []
        for s in (*seen.views, *seen.naive):
            lines = s.take(np.flatnonzero(s.weight() > READ_FLOOR)[:MAX_READ]) if len(s) else s
            score, part = 0.0, _NONE
            if len(lines):
                evidence = read_lines(lines.view.pixels, lines.quads, self._reader, self._threads)
                score, part = self._reader.orders(evidence, lines)
            found.append((score, lines, part))
        score, lines, part = max(found, key=lambda t: t[0])
        keep = np.flatnonzero(part > 0.5)
        return Finding(
            "typographic",
            score,
            f"{len(keep)} of {len(lines)} lines of writing read like orders"
            if len(keep)
            else "no writing that gives orders",
            ", ".join(self.models),
            tuple(lines.in_original(keep)),
            lines.view.name,
            detail={"lines": len(lines)},
        )


def _norms(vectors: Floats) -> Floats:
    """Lengths of N x 2 vectors."""
    return np.asarray(np.sqrt(vectors[:, 0] * vectors[:, 0] + vectors[:, 1] * vectors[:, 1]), np.float32)


def log_evidence(part: Floats, trace: float = 0.0) -> float:
    """Return the natural logarithm of a sum of parts and of what a trace counts, 1e-4 at the least."""
    return math.log(float(part.sum()) + TRACE_WEIGHT * trace + 1e-4)


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
    """Return the view at no more than WHOLE_PIXELS."""
    h, w = view.pixels.shape[:2]
    if h * w <= WHOLE_PIXELS:
        return view
    ratio = math.sqrt(h * w / WHOLE_PIXELS)
    th, tw = max(1, int(h / ratio)), max(1, int(w / ratio))
    small = _core.views.resize(view.pixels, th, tw, "area", antialias=True, threads=threads)
    return View(view.name, small, (view.scale[0] * w / tw, view.scale[1] * h / th), view.offset)


def _enlarged(view: View, threads: int) -> Pixels:
    """Return the pixels that the map is shown of a view: of a small picture at its own size enlarged, else the view's."""
    h, w = view.pixels.shape[:2]
    ratio = min(ENLARGE, math.sqrt(SMALL_PIXELS / (h * w)))
    if view.scale != (1.0, 1.0) or ratio < 1.05:
        return view.pixels
    shown: Pixels = _core.views.resize(
        view.pixels, int(h * ratio), int(w * ratio), "bicubic", antialias=True, threads=threads
    )
    return shown


def _unmatched(lines: Lines, others: Iterable[Lines]) -> Floats:
    """For each line, 1 where no line of `others` lies over its centre, falling to 0 where a sure one does."""
    out = np.ones(len(lines), np.float64)
    centres = np.array(lines.in_original(), np.float64).reshape(-1, 4, 2).mean(1)
    for other in others:
        for quad, sure in zip(other.in_original(), other.core * other.text, strict=True):
            (x0, y0), (x1, y1), _, (x3, y3) = quad
            ax, ay, dx, dy = x1 - x0, y1 - y0, x3 - x0, y3 - y0
            x, y = centres[:, 0] - x0, centres[:, 1] - y0
            s, t = (x * ax + y * ay) / max(ax * ax + ay * ay, 1e-6), (x * dx + y * dy) / max(dx * dx + dy * dy, 1e-6)
            over = (s > -0.25) & (s < 1.25) & (t > -0.5) & (t < 1.5)
            out[over] = np.minimum(out[over], 1 - float(sure))
    return out.astype(np.float32)


def _strip_statistics(pixels: Pixels, quads: Floats, threads: int) -> Floats:
    """Return float32 N x 3: deviation of each line's strip, mean difference of neighbours along and across the line."""
    out = np.zeros((len(quads), 3), np.float32)
    if len(quads):
        for i, strip in enumerate(_core.typographic.rectify(pixels, quads, height=32, max_width=512, threads=threads)):
            v = strip.astype(np.float32)
            out[i] = v.std(), np.abs(v[:, 1:] - v[:, :-1]).mean(), np.abs(v[1:] - v[:-1]).mean()
    return out


def _snapped(size: float) -> int:
    """Return the edge of TARGETS within 5 % of an estimated one (the grid's frequency is that coarse), else itself."""
    near = min(TARGETS, key=lambda t: abs(t - size))
    return near if abs(near - size) <= 0.05 * near else max(16, round(size))
