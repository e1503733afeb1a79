"""What lines of writing mean, without ever spelling them: strips → evidence → does this picture give orders?

The model `linesense_v1` turns a strip, grey and 32 pixels high, into *concepts*: 192 non-negative detectors of phrases,
each the strongest answer along the strip. Inside the graph, places where a word has its centre become what the word
means, and phrases are read from five such meanings in a row. No output of the graph names a letter or a word beyond the
presence of one of twelve groups of trigger words, so that no text can be read out of it, stored or logged.

Concepts of several lines are joined by their maximum, as if the lines were one: a small perceptron (`heads.npz`) reads
order, harmful request, persona, ordinary request and empty list from any such union. `LineReader.orders` slides
windows of 1, 2, 4 and 8 lines over the lines in reading order, and boosted trees weigh the best windows, the
trigger groups, the amount of writing and where it stands (`layout`: laid over the picture or part of it, how much of
the picture is flat ground) into one probability. A long document is therefore judged by its most suspicious passage,
and knows that it had many.

Imports types, errors, runtime and _core only; `detectors/typographic.py` cuts the strips and calls this.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from . import runtime
from .errors import ModelError, UnsupportedInput
from .types import Pixels, View

Floats = npt.NDArray[np.float32]

MODEL = "linesense_v1"
HEIGHT = 32
#: Strips of one run share a width, a multiple of this; the rest is the grey that normalisation centres on.
STEP = 64
#: Columns of pixels in one run: 64 lines of 512 take 40 MB of activations.
BATCH = 32_768
WINDOWS = (1, 2, 4, 8)
#: Logits beyond this say no more; it keeps one wild line from deciding alone.
CLIP = 12.0


#: Facts of one line and of the whole picture that `layout` returns.
LINE_FACTS, PICTURE_FACTS = 5, 2


class _Lines(Protocol):
    """Lines of a view (`detectors.typographic.Lines`): where they are, and what the text map thinks of them."""

    @property
    def view(self) -> View: ...
    @property
    def quads(self) -> Floats: ...
    @property
    def put(self) -> Floats: ...
    @property
    def overlay(self) -> Floats: ...
    @property
    def contrast(self) -> Floats: ...


def normalise(strip: Pixels) -> Pixels:
    """Centre a uint8 32xW strip on 128 and stretch its contrast to a standard deviation of 48, at most 24-fold.

    Faint and strong writing look alike afterwards; a deviation below 2 grey levels is taken for noise.
    """
    x = strip.astype(np.float32)
    scaled: Pixels = np.clip(np.rint(128 + (x - x.mean()) * (48 / max(float(x.std()), 2.0))), 0, 255).astype(np.uint8)
    return scaled


def reading_order(quads: Floats) -> npt.NDArray[np.intp]:
    """Return the order in which lines are read: rows across the common direction, then along it.

    Args:
        quads: float32 N x 4 x 2, clockwise from the start of each line.
    """
    if len(quads) < 2:
        return np.zeros(len(quads), np.intp)
    along = quads[:, 1] - quads[:, 0]
    u = along.sum(0) / max(float(np.hypot(*along.sum(0))), 1e-6)
    centre = quads.mean(1)
    down, right = centre @ np.array([-u[1], u[0]]), centre @ u
    height = float(np.median(np.hypot(*(quads[:, 3] - quads[:, 0]).T)))
    order = np.argsort(down, kind="stable")
    row = np.concatenate([[0], np.cumsum(np.diff(down[order]) > 0.5 * height)])
    return order[np.lexsort((right[order], row))]


def layout(lines: _Lines) -> tuple[Floats, Floats]:
    """Return what is to be seen without reading.

    Args:
        lines: Lines of one view.

    Returns:
        float32 N x 5: put on the picture, overlay, height over the square root of the picture's area, area over the
        picture's, logarithm of the strip's contrast in grey levels + 1;
        float32 2: share of the picture's 8x8 blocks whose grey values deviate by less than 3 (a page, a screenshot; the
        picture is sampled to at most 256 pixels a side), and 1 where the longer edge is below 400 pixels.
    """
    pixels = lines.view.pixels
    h, w = pixels.shape[:2]
    step = max(1, -(-max(h, w) // 256))
    sampled = pixels[::step, ::step].astype(np.uint16)  # whole numbers: adding planes is ten times as fast as mean(-1)
    grey = (sampled[..., 0] + sampled[..., 1] + sampled[..., 2]).astype(np.float32) / np.float32(3)
    bh, bw = grey.shape[0] // 8, grey.shape[1] // 8
    blocks = grey[: bh * 8, : bw * 8].reshape(bh, 8, bw, 8).std((1, 3))
    flat = float((blocks < 3).mean()) if blocks.size else 1.0
    along, down = (np.hypot(*(lines.quads[:, i] - lines.quads[:, 0]).T) for i in (1, 3))
    each = np.stack(
        [lines.put, lines.overlay, down / np.sqrt(h * w), along * down / (h * w), np.log(lines.contrast + 1)], 1
    )
    return each.astype(np.float32), np.array([flat, max(h, w) < 400], np.float32)


def _perceptron(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    """Two layers, ReLU between; the second may be wider than one."""
    # einsum, since a BLAS wakes threads that go on spinning for 30 ms after products as small as these
    hidden = np.maximum(np.einsum("...j,jk->...k", x, w[f"{name}_w1"]) + w[f"{name}_b1"], 0)
    return np.asarray(np.einsum("...j,jk->...k", hidden, w[f"{name}_w2"]) + w[f"{name}_b2"], np.float32)


class _Trees:
    """Gradient-boosted regression trees: logit(x) = base + sum over trees of the value of the leaf that x falls into.

    Args:
        arrays: `tree_feature`, `tree_threshold`, `tree_left`, `tree_right`, `tree_value`, each trees x nodes, and
            `tree_base`; a node goes left where x[feature] <= threshold, and a leaf is a node that leads to itself.
        width: Features of x.

    Raises:
        ValueError: A node points outside its tree or at a feature that is not there.
    """

    def __init__(self, arrays: Mapping[str, Floats], width: int) -> None:
        self._feature, self._left, self._right = (
            arrays[f"tree_{k}"].astype(np.intp) for k in ("feature", "left", "right")
        )
        self._threshold, self._value = arrays["tree_threshold"], arrays["tree_value"]
        self._base = float(arrays["tree_base"])
        trees, nodes = self._feature.shape
        for links, limit in ((self._feature, width), (self._left, nodes), (self._right, nodes)):
            if links.shape != (trees, nodes) or links.min() < 0 or links.max() >= limit:
                raise ValueError(f"the image head does not take {width} features")
        if self._threshold.shape != (trees, nodes) or self._value.shape != (trees, nodes):
            raise ValueError("the image head's trees are of unlike sizes")

    def __call__(self, x: Floats) -> float:
        """Return the logit of one vector of features."""
        tree, at = np.arange(len(self._feature)), np.zeros(len(self._feature), np.intp)
        for _ in range(self._feature.shape[1]):  # no path is longer than its tree has nodes
            low = x[self._feature[tree, at]] <= self._threshold[tree, at]
            to = np.where(low, self._left[tree, at], self._right[tree, at])
            if np.array_equal(to, at):
                break
            at = to
        return self._base + float(self._value[tree, at].sum(dtype=np.float64))


class LineReader:
    """Reads the meaning of lines.

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Threads inside one call.

    Raises:
        ModelError: The model is missing, altered, or not what this code was written for.
    """

    def __init__(self, models: str | Path | None = None, threads: int = 1) -> None:
        self._model = runtime.load(MODEL, models, threads)
        config = self._model.config
        try:
            self._blocks: dict[str, tuple[int, int]] = {
                k: (int(a), int(b)) for k, (a, b) in config["evidence"]["blocks"].items()
            }
            self.names: Mapping[str, tuple[str, ...]] = {k: tuple(v) for k, v in config["evidence"]["names"].items()}
            with np.load(io.BytesIO(self._model.file("heads.npz")), allow_pickle=False) as arrays:
                self._heads = {k: arrays[k].astype(np.float32) for k in arrays.files}
            for block in ("concepts", "triggers", "facts"):
                self._blocks[block]
            none = np.zeros((0, self.width), np.float32)
            facts = np.zeros((0, LINE_FACTS), np.float32), np.zeros(PICTURE_FACTS, np.float32)
            width = len(_features(none, *facts, self._blocks, self._heads))
            self._trees = _Trees(self._heads, width)
            if self.names["meaning"][:2] != ("order", "harm"):
                raise ValueError("the first meanings must be order and harm")
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ModelError(f"{MODEL}: config.json or heads.npz is not of this version: {error!r}") from error
        self.models: Mapping[str, str] = {self._model.name: "sha256:" + config["files"][config["graph"]]["sha256"][:16]}

    @property
    def width(self) -> int:
        """Length of one line's evidence: the blocks of the graph, then the strip's width in multiples of its height."""
        return max(b for _, b in self._blocks.values()) + 1

    def threshold(self, fpr: float) -> float:
        """Return the operating point of `typographic` at a false-positive rate.

        Raises:
            ModelError: The config has no such point.
        """
        return self._model.threshold("typographic", fpr)

    def read(self, strips: Sequence[Pixels]) -> Floats:
        """Look at strips.

        Args:
            strips: uint8 32xW grey strips, W >= 1, upright or upside down.

        Returns:
            float32 N x `width`: concepts, trigger-group logits, script and upside-down logits, relative width.

        Raises:
            UnsupportedInput: A strip of another height or type.
        """
        for s in strips:
            if s.dtype != np.uint8 or s.ndim != 2 or s.shape[0] != HEIGHT or s.shape[1] < 1:
                raise UnsupportedInput(f"a strip must be uint8 {HEIGHT}xW, got {s.dtype} {s.shape}")
        out = np.zeros((len(strips), self.width), np.float32)
        ready = [normalise(s) for s in strips]
        self._run(ready, range(len(ready)), out)
        turned = self._blocks["facts"][1] - 1
        flipped = [i for i in range(len(ready)) if out[i, turned] > 0]
        if flipped:  # read again the right way up; keep what looked less upside down
            again = np.zeros_like(out)
            self._run({i: np.ascontiguousarray(ready[i][::-1, ::-1]) for i in flipped}, flipped, again)
            for i in flipped:
                if again[i, turned] < out[i, turned]:
                    out[i] = again[i]
        out[:, -1] = [s.shape[1] / HEIGHT for s in strips]
        return out

    def _run(self, strips: Any, rows: Sequence[int], out: Floats) -> None:
        by_width: dict[int, list[int]] = {}
        for i in rows:
            by_width.setdefault(-(-strips[i].shape[1] // STEP) * STEP, []).append(i)
        for width, members in sorted(by_width.items()):
            per = max(1, BATCH // width)
            for start in range(0, len(members), per):
                part = members[start : start + per]
                x = np.full((len(part), 1, HEIGHT, width), 128, np.uint8)
                for row, i in enumerate(part):
                    x[row, 0, :, : strips[i].shape[1]] = strips[i]
                out[part, :-1] = self._model.run({"lines": x})[0]

    def meaning(self, evidence: Floats) -> Floats:
        """Return the probabilities of `names["meaning"]` for each line by itself: float32 N x 5."""
        return np.asarray(1 / (1 + np.exp(-_meaning(evidence, self._blocks, self._heads))), np.float32)

    def orders(self, evidence: Floats, lines: _Lines) -> tuple[float, Floats]:
        """Judge all lines of one view together.

        Args:
            evidence: float32 N x `width`, from `read`.
            lines: The same lines.

        Returns:
            The probability that the view gives orders or asks for harm, and how much each line takes part, in [0, 1].
        """
        n = len(evidence)
        if not n:
            return 0.0, np.zeros(0, np.float32)
        order = reading_order(lines.quads)
        each, picture = layout(lines)
        x = _features(evidence[order], each[order], picture, self._blocks, self._heads)
        logit = self._trees(x)
        part = np.zeros(n, np.float32)
        part[order] = self._parts(evidence[order])
        return float(1 / (1 + np.exp(-np.clip(logit, -30, 30)))), part

    def _parts(self, evidence: Floats) -> Floats:
        """A line takes part by what it says alone, or by what the best passage around it loses without it."""
        n = len(evidence)
        part = _risk(_meaning(evidence, self._blocks, self._heads))
        passages = [np.arange(start, min(n, start + 4)) for start in range(max(1, n - 3))] if n > 1 else []
        if passages:  # each as a whole, then without each of its lines: all unions in one go
            unions = [evidence[rows].max(0) for rows in passages]
            unions += [evidence[rows[rows != i]].max(0) for rows in passages for i in rows]
            risks = _risk(_meaning(np.stack(unions), self._blocks, self._heads)).tolist()
            rests = iter(risks[len(passages) :])
            for rows, whole in zip(passages, risks, strict=False):
                for i, rest in zip(rows, rests, strict=False):
                    if whole > 0:
                        part[i] = max(part[i], min(whole, 2 * (whole - rest) - 1))
        return np.asarray(1 / (1 + np.exp(-np.clip(part, -CLIP, CLIP))), np.float32)


def _meaning(evidence: Floats, blocks: Mapping[str, tuple[int, int]], heads: Mapping[str, Floats]) -> Floats:
    """Logits of the meaning of lines, or of unions of lines: from concepts and the presence of trigger groups."""
    (c0, c1), (t0, t1) = blocks["concepts"], blocks["triggers"]
    present = 1 / (1 + np.exp(-np.clip(evidence[:, t0:t1], -30, 30)))
    return _perceptron(np.concatenate([evidence[:, c0:c1], present], 1), heads, "meaning")


def _risk(meaning: Floats) -> Floats:
    return np.maximum(meaning[..., 0], meaning[..., 1])


def _features(
    evidence: Floats,
    each: Floats,
    picture: Floats,
    blocks: Mapping[str, tuple[int, int]],
    heads: Mapping[str, Floats],
) -> Floats:
    """What the image head weighs, from lines in reading order; the same for training and use.

    For each window size the largest order and harm logits; list and persona of the longer windows; the second most
    suspicious line; the mean over lines; trigger groups anywhere and in the best window of four; how many groups meet
    in one line and in four; what else the best window is; how much writing there is, and how much of it is the best
    window; where the lines stand (`layout`), on the whole and in the best window.
    """
    (t0, t1), (f0, f1) = blocks["triggers"], blocks["facts"]
    n = len(evidence)
    if not n:
        return np.zeros(2 * len(WINDOWS) + 4 + 2 + 2 * (t1 - t0) + 2 + 3 + 4 + 11 + PICTURE_FACTS, np.float32)
    triggers, wide = evidence[:, t0:t1], evidence[:, -1]
    meanings: list[Floats] = []
    crowds: list[float] = []
    for size in WINDOWS:
        if meanings and WINDOWS[len(meanings) - 1] >= n:  # the window of all lines once more
            meanings.append(meanings[-1])
            crowds.append(crowds[-1])
            continue
        first = np.arange(max(1, n - size + 1))
        union = np.stack([evidence[i : i + size].max(0) for i in first])
        meanings.append(np.clip(_meaning(union, blocks, heads), -CLIP, CLIP))
        crowds.append(float((1 / (1 + np.exp(-union[:, t0:t1]))).sum(1).max()))
    alone, four = _risk(meanings[0]), meanings[2]
    best = int(_risk(four).argmax())
    facts = evidence[:, f0:f1]
    latin = (facts[:, :-1].argmax(1) == 1).astype(np.float32)
    share = wide / wide.sum()
    passage = slice(best, best + 4)
    inside = float(share[passage].sum())
    put, overlay, height, area, contrast = each.T
    return np.concatenate(
        [
            *([m[:, 0].max(), m[:, 1].max()] for m in meanings),
            [meanings[2][:, 4].max(), meanings[3][:, 4].max(), meanings[1][:, 2].max(), meanings[3][:, 2].max()],
            [np.sort(alone)[-2] if n > 1 else -CLIP, float((alone * share).sum())],
            np.clip(triggers.max(0), -CLIP, CLIP),
            np.clip(triggers[passage].max(0), -CLIP, CLIP),
            [crowds[0], crowds[2]],
            four[best, 2:5],
            [np.log1p(n), np.log1p(wide.sum()), float((latin * share).sum()), np.log1p(wide[passage].sum())],
            [
                inside,
                float((overlay * share).sum()),
                float((overlay * share)[passage].sum()) / inside,
                float(overlay.max()),
                float((put * share).sum()),
                float((put * share)[passage].sum()) / inside,
                float((contrast * share)[passage].sum()) / inside,
                np.log(area.sum() + 1e-3),
                float(height.max()),
                float((height * share)[passage].sum()) / inside,
                np.log(float((height * share)[passage].sum()) / inside / max(float(np.median(height)), 1e-6)),
            ],
            picture,
        ]
    ).astype(np.float32)
