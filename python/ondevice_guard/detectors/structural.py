"""What the file's structure says against its picture: thumbnail, alpha, sampling grid. No model, no weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ondevice_guard import _core
from ondevice_guard.types import Finding, Pixels, Views

_Floats = npt.NDArray[np.float64]


class StructuralDetector:
    """Scores `thumbnail_mismatch`, `alpha_divergence` and `scaling`.

    Args:
        models: Ignored; every detector is made with the same arguments.
        threads: Native threads of one call.
    """

    name = "structural"
    kinds = ("thumbnail_mismatch", "alpha_divergence", "scaling")
    profiles = False

    def __init__(self, models: str | Path | None = None, threads: int = 1) -> None:
        self._threads = threads

    def __call__(self, views: Views) -> Sequence[Finding]:
        """Return one finding per kind that the picture gives occasion for, low scores included."""
        findings = [self._scaling(views)]
        if views.image.thumbnail is not None:
            findings.append(self._thumbnail(views.image.thumbnail, views.image.pixels))
        if views.image.alpha is not None:
            findings.append(self._alpha(views.image.pixels, views.image.alpha))
        return findings

    def _finding(self, kind: str, score: float, why: str, **detail: Any) -> Finding:
        return Finding(kind, min(max(score, 0.0), 1.0), why, self.name, detail=detail)

    def _scaling(self, views: Views) -> Finding:
        """Score 1 - 2^(-evidence²), evidence as in cpp/include/ondevice_guard/signal.hpp: 0.5 at evidence 1.

        benchmarks/results/scaling.json holds what photographs and attacks reach.
        """
        pixels = views.image.pixels
        grid = views.measured(_core.signal.sampling_grid, pixels, self._threads)
        height, width = round(grid.frequency_y * pixels.shape[0]), round(grid.frequency_x * pixels.shape[1])
        how = (
            f"stick out of their surroundings {math.exp(grid.log_ratio):.1f} times as far as the others"
            if grid.log_ratio > 0
            else f"are {abs(grid.shift):.1f} grey levels {'brighter' if grid.shift > 0 else 'darker'} than the others"
        )
        return self._finding(
            "scaling",
            1 - 2 ** -(grid.evidence**2),
            f"The pixels that a resize to about {width}x{height} singles out {how}."
            if grid.evidence > 0
            else "No pixels stand out on a regular grid.",
            log_ratio=round(grid.log_ratio, 4),
            z=round(grid.z, 2),
            shift=round(grid.shift, 3),
            shift_z=round(grid.shift_z, 2),
            width=width,
            height=height,
            period=round(1 / max(grid.frequency_x, grid.frequency_y, 1e-9), 4),
        )

    def _thumbnail(self, thumbnail: Pixels, pixels: Pixels) -> Finding:
        """Score 2 (1 - r), r the correlation of the two lumas on 24x24 cells, the preview's uniform bars trimmed.

        A preview of the same picture has r above 0.95 even when sharpened or recompressed; unrelated photographs reach
        0.5, because subjects sit in the middle.
        """
        whole = _luma(thumbnail)
        height, width = pixels.shape[:2]
        picture = _luma(pixels[:: max(1, height // 480), :: max(1, width // 480)])
        best = 0.0
        for preview in (whole, _trim_bars(whole)):
            # Cropped previews exist, stretched ones do not: when the shapes differ, the centre crop is compared too.
            candidates = [picture]
            ratio = (preview.shape[1] / preview.shape[0]) / (width / height)
            if not 0.95 < ratio < 1.05:
                h, w = picture.shape
                keep_h, keep_w = (h, max(1, round(w * ratio))) if ratio < 1 else (max(1, round(h / ratio)), w)
                top, left = (h - keep_h) // 2, (w - keep_w) // 2
                candidates.append(picture[top : top + keep_h, left : left + keep_w])
            best = max(best, *(_similarity(_cells(preview, 24), _cells(c, 24)) for c in candidates))
        why = f"The embedded preview and the picture correlate by {best:.2f}."
        size = {"width": int(thumbnail.shape[1]), "height": int(thumbnail.shape[0])}
        return self._finding("thumbnail_mismatch", 2 - 2 * best, why, **size)

    def _alpha(self, pixels: Pixels, alpha: Pixels) -> Finding:
        """Score how much structure a viewer that drops alpha sees and one that composites does not, or the reverse.

        Edges are differences above 24 of 255 to the third pixel to the right or below. `hidden` is the share of the
        picture's edges where alpha is below 16: an ordinary cut-out leaves a flat colour there. `inside` is the share
        of edges of alpha that lie where the colours are flat and alpha is partial: a picture drawn in alpha alone.
        `strokes` is for writing, whose page is mostly clear: of the rows, or the columns, the fifth highest number of
        strokes that alpha (at 128) draws where the colours are flat; five rows are a line of small print. Shapes,
        icons and stickers have a few, nine or ten letters the 16 of score 0.5, a line of a sentence thirty and more.

        Where most of this is drawn in alpha, `background` in the finding's detail is the colour over which least of it shows:
        an edge between covers a and b of a flat colour C leaves |a - b| |C - B| over B, so B is the median of C over them.
        """
        # Every n-th pixel of a large picture is enough, and keeps this in the milliseconds.
        step = max(1, round(math.sqrt(alpha.size / (1 << 20))))
        colour, cover = _luma(pixels[::step, ::step]), alpha[::step, ::step].astype(np.float64)
        edges_colour, edges_cover = _edges(colour), _edges(cover)
        clear = cover < 16
        # Edges along the rim of the cut-out belong to the visible picture.
        deep = clear.copy()
        for _ in range(4):
            deep[1:] &= clear[:-1]
            deep[:-1] &= clear[1:]
            deep[:, 1:] &= clear[:, :-1]
            deep[:, :-1] &= clear[:, 1:]
            clear = deep.copy()
        under = edges_colour & deep
        hidden = float(under.sum()) / max(int(edges_colour.sum()), 1) if under.sum() > 0.0005 * cover.size else 0.0
        partial = (cover > 8) & (cover < 247)
        both = partial.copy()  # an edge between two partial covers, not the rim of a translucent shape
        both[:-3] &= partial[3:]
        both[:, :-3] &= partial[:, 3:]
        drawn = edges_cover & ~edges_colour & both
        all_edges = max(int((edges_colour | edges_cover).sum()), 1)
        inside = float(drawn.sum()) / all_edges if partial.mean() > 0.2 else 0.0
        ink, flat = cover >= 128, ~edges_colour
        across = ((ink[:, 1:] != ink[:, :-1]) & flat[:, :-1]).sum(1)
        down = ((ink[1:] != ink[:-1]) & flat[:-1]).sum(0)
        strokes = max(float(np.sort(line)[-5]) / 2 if len(line) >= 5 else 0.0 for line in (across, down))
        why = (
            f"{hidden:.0%} of the edges lie under transparent pixels, {inside:.0%} are drawn in the transparency alone, "
            f"as are {strokes:.0f} strokes in a line."
        )
        by_hidden, by_alpha = hidden / 0.12, max(inside / 0.12, strokes / 19.2)
        score = 1 - math.exp(-(max(by_hidden, by_alpha) ** 2))
        detail: dict[str, Any] = {"hidden": round(hidden, 4), "inside": round(inside, 4), "strokes": strokes}
        colours = pixels[::step, ::step][edges_cover & flat]
        if len(colours) and by_alpha > by_hidden:
            middle = (len(colours) - 1) // 2
            detail["background"] = np.partition(colours, middle, axis=0)[middle].tolist()
        return self._finding("alpha_divergence", score, why, **detail)


def _luma(pixels: Pixels) -> _Floats:
    wide = pixels.astype(np.float64)
    return (wide[..., 0] + 2 * wide[..., 1] + wide[..., 2]) / 4


def _edges(plane: _Floats) -> npt.NDArray[np.bool_]:
    edges = np.zeros(plane.shape, bool)
    edges[:, :-3] |= np.abs(plane[:, 3:] - plane[:, :-3]) > 24
    edges[:-3] |= np.abs(plane[3:] - plane[:-3]) > 24
    return edges


def _trim_bars(plane: _Floats) -> _Floats:
    """Cut uniform rows and columns off the border; cameras letter-box their previews."""
    rows = np.flatnonzero(np.ptp(plane, axis=1) > 24)
    columns = np.flatnonzero(np.ptp(plane, axis=0) > 24)
    if len(rows) < 8 or len(columns) < 8:
        return plane
    return plane[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _cells(plane: _Floats, count: int) -> _Floats:
    """Mean of each of count x count cells; cells may share lines when the plane is smaller than that."""
    out = plane
    for axis in (0, 1):
        n = out.shape[axis]
        edges = np.linspace(0, n, count + 1)
        total = np.concatenate([np.zeros_like(out.take([0], axis)), np.cumsum(out, axis)], axis)
        whole = np.clip(edges.astype(int), 0, n - 1)
        part = edges - whole
        shape = [1, 1]
        shape[axis] = -1
        at = total.take(whole, axis) + out.take(whole, axis) * part.reshape(shape)
        out = np.diff(at, axis=axis) * (count / n)
    return out


def _similarity(a: _Floats, b: _Floats) -> float:
    """Correlation in [0, 1]; of two nearly flat planes, how close their means are."""
    flat = 2.0
    if a.std() < flat and b.std() < flat:
        return max(0.0, 1 - abs(float(a.mean() - b.mean())) / 64)
    if min(a.std(), b.std()) < flat:
        return 0.0
    return max(0.0, float(((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())))
