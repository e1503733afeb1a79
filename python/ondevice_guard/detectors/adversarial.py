"""Adversarial perturbation: is the picture's finest-scale residual one that nature, cameras and codecs make?

A perturbation that fools a classifier is not white noise: it is bounded, flat-headed, coloured by the attacked
network's strides and correlated between channels in its own way. The native core sums such statistics over 16x16
tiles, and takes 137 ratios of these sums (`_core.residual`, formulas in cpp/include/ondevice_guard/residual.hpp); a
small network on the ratios gives the probability. Whole picture and windows of 64 pixels use the same ratios, so that
the finding can say where.

The score answers "was this perturbed?", not "is it noisy?": noisy, JPEG, resized, sharpened, grainy, dithered
pictures and screenshots were its negatives. It cannot see what is no longer there: after a JPEG round trip by the
attacker the perturbation, and most of its effect, is gone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ondevice_guard import _core
from ondevice_guard.errors import ModelError, UnsupportedInput
from ondevice_guard.runtime import load
from ondevice_guard.types import Finding, Quad, Views, box

Floats = npt.NDArray[np.float64]
#: Top, left, height and width in tiles.
Region = tuple[int, int, int, int]

FEATURES = _core.residual.RATIOS
SMALLEST = 48  # pixels: below, tiles are too few for statistics (the model was trained from 68 on)
WINDOW = 4  # tiles: 64 pixels, the smallest region whose statistics the model was trained on
SAMPLED = 24  # tiles along the shorter side, at least, that are looked at: of a larger picture every second, third …
_SURE = 4.0  # log-odds: 98 in 100


class AdversarialDetector:
    """Scores the residual of the original picture; needs no other view.

    Attributes:
        models: name → version and checksum, for the verdict.
    """

    name = "adversarial"
    kinds = ("adversarial",)
    profiles = False

    def __init__(self, models: str | Path | None = None, threads: int = 1) -> None:
        """Load `adversarial_v1`.

        Args:
            models: Directory with model folders; None searches the usual places.
            threads: Threads of the native pass.

        Raises:
            ModelError: The model is missing, altered, or not of the shape this code knows.
        """
        model = load("adversarial", models, threads)
        self.models = {model.name: str(model.config["files"]["weights.json"]["sha256"])[:12]}
        self._points = model.config.get("thresholds", {}).get("adversarial", {})
        self._threads = threads
        try:
            weights = json.loads(model.file("weights.json"))
            self._perceptron = _core.residual.Perceptron(
                weights["mean"],
                weights["scale"],
                [(np.asarray(w, np.float64).T, b) for w, b in weights["layers"]],
                float(weights["slope"]),
                float(weights["offset"]),
            )
            self._window_offset = float(weights["window_offset"])
        except (KeyError, TypeError, ValueError, UnsupportedInput) as error:
            raise ModelError(f"{model.name}: weights.json cannot be used: {error!r}") from error

    def operating_points(self, fpr: float) -> dict[str, float]:
        """Return the recorded threshold at this false-positive rate, or nothing where none was recorded."""
        return {kind: float(v) for kind in self.kinds for k, v in self._points.items() if abs(float(k) - fpr) < 1e-9}

    def logits(self, sums: npt.NDArray[np.int64], regions: Sequence[Region]) -> Floats:
        """Return the calibrated log-odds of regions of a (down, across, 82) grid of tile sums."""
        found: Floats = self._perceptron.logits(sums, np.asarray(regions, np.int64))
        return found

    def __call__(self, views: Views) -> Sequence[Finding]:
        """Return one finding: the probability that the picture, or a part of it, carries a perturbation."""
        pixels = views.original.pixels
        height, width = pixels.shape[:2]
        if min(height, width) < SMALLEST:
            return ()
        every = max(1, -(-min(height, width) // _core.residual.TILE) // SAMPLED)
        sums = _core.residual.tile_sums(pixels, every=every, threads=self._threads)
        down, across = sums.shape[:2]
        size, tops, lefts = _windows(down, across)
        windows = [(top, left, size, size) for top in tops for left in lefts]
        logits = self.logits(sums, [(0, 0, down, across), *windows])
        whole, local = float(logits[0]), logits[1:]
        # One window may err: a part counts by its third-strongest window, which a perturbed patch always has.
        strongest = float(np.sort(local)[-3:][0]) - self._window_offset if len(local) >= 3 else whole
        logit = max(whole, strongest)
        score = round(1.0 / (1.0 + float(np.exp(-np.clip(logit, -40.0, 40.0)))), 6)
        known = [float(v) for v in self._points.values()]
        suspicious = score >= min(known) if known else logit > 0
        kind = "The finest-scale noise" if whole >= strongest else "The finest-scale noise of a part of the picture"
        return (
            Finding(
                kind="adversarial",
                score=score,
                why=f"{kind} looks {'made to mislead a model' if suspicious else 'like that of an ordinary picture'}.",
                detector=next(iter(self.models)),
                regions=self._regions(local, sums.shape[:2], every, (width, height)) if suspicious else (),
                detail={"whole": round(whole, 4), "strongest_part": round(strongest, 4)},
            ),
        )

    def _regions(self, local: Floats, grid: tuple[int, ...], every: int, picture: tuple[int, int]) -> tuple[Quad, ...]:
        """Return boxes of the tiles that windows, on average, find more likely perturbed than not; all if none is."""
        down, across = grid
        size, tops, lefts = _windows(down, across)
        total = np.zeros((down, across))
        corners = [(t, left) for t in tops for left in lefts]
        # A window that is sure must not outvote its neighbours by how sure it is.
        for (t, left), z in zip(corners, np.clip(local, -_SURE, _SURE), strict=True):
            total[t : t + size, left : left + size] += z
        hot = total > 0
        if not hot.any():
            hot[:] = True
        step, (width, height) = _core.residual.TILE * every, picture
        edges = [(x0 * step, y0 * step, x1, y1) for x0, y0, x1, y1 in _boxes(hot)]
        return tuple(
            box(x, y, width if x1 == across else x1 * step, height if y1 == down else y1 * step)
            for x, y, x1, y1 in edges
        )


def _windows(down: int, across: int) -> tuple[int, list[int], list[int]]:
    """Return the window size in tiles and the first tile rows and columns; some two hundred windows at most."""
    size = min(max(WINDOW, -(-min(down, across) // 6)), down, across)
    step = max(1, size // 2)

    def starts(n: int) -> list[int]:
        return sorted({*range(0, n - size + 1, step), n - size})

    return size, starts(down), starts(across)


def _boxes(hot: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, int]]:
    """Return bounding boxes (x0, y0, x1, y1) of the 4-connected components of a small mask, in reading order."""
    left = hot.copy()
    found = []
    for y, x in np.argwhere(hot):
        if not left[y, x]:
            continue
        stack, ys, xs = [(int(y), int(x))], [], []
        left[y, x] = False
        while stack:
            cy, cx = stack.pop()
            ys.append(cy)
            xs.append(cx)
            for ny, nx in ((cy - 1, cx), (cy + 1, cx), (cy, cx - 1), (cy, cx + 1)):
                if 0 <= ny < left.shape[0] and 0 <= nx < left.shape[1] and left[ny, nx]:
                    left[ny, nx] = False
                    stack.append((ny, nx))
        found.append((min(xs), min(ys), max(xs) + 1, max(ys) + 1))
    return found
