"""What lines of writing mean, without ever spelling them: strips → evidence → does this picture give orders?

The model `linesense_v1` turns a strip, grey and 32 pixels high, into *concepts*: 192 non-negative detectors of phrases,
each the strongest answer along the strip. Inside the graph, places where a word has its centre become what the word
means, and phrases are read from five such meanings in a row. No output of the graph names a letter or a word beyond the
presence of one of twelve groups of trigger words, so that no text can be read out of it, stored or logged.

`LineReader.orders` judges all lines of a view together: a small network (`_Judge`, weights in `heads.npz`) takes the lines in
reading order, each with its evidence and where it stands (`layout`: laid over the picture or part of it, how large, how
plain), looks at two neighbours on both sides, and pools by four attentions and by the maximum, so that a long document
is judged by its most suspicious passages. Which lines to redact is asked of it as well: without them nothing is left that
gives orders. A perceptron on the union of some lines' concepts says what any passage by itself is about.

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
#: Logits beyond this say no more; it keeps one wild line from deciding alone.
CLIP = 12.0


#: Facts of one line that `layout` returns, and of the whole picture that the judge takes.
LINE_FACTS, PICTURE_FACTS = 5, 5


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


def picture_facts(own: Floats, ground: Floats) -> Floats:
    """Return what the judge takes of the picture.

    Args:
        own: N x (evidence, then `layout`'s facts of each line), N >= 1.
        ground: `layout`'s facts of the picture.

    Returns:
        float64 5: logarithms of the lines' number + 1, of their joint length + 1 (in line heights) and of their share of the
        picture's area + .001; `ground`.
    """
    length, area = (own[:, -LINE_FACTS - 1].sum(dtype=np.float64), own[:, -2].sum(dtype=np.float64))
    return np.array([np.log1p(len(own)), np.log1p(length), np.log(area + 1e-3), *ground])


def _perceptron(x: Floats, w: Mapping[str, Floats], name: str) -> Floats:
    """Two layers, ReLU between; the second may be wider than one."""
    hidden = np.maximum(_product(x, w[f"{name}_w1"]) + w[f"{name}_b1"], 0)
    return np.asarray(_product(hidden, w[f"{name}_w2"]) + w[f"{name}_b2"], np.float32)


class _Judge:
    """Whether lines in reading order give orders: logit(lines, picture).

    With x the lines' numbers and z the picture's, standardised and clipped at 4 and 5 deviations, relu(v) = max(v, 0):

        h = relu(x W + b)                                              every line by itself
        h = h + relu(h[-1] U0 + h[0] U1 + h[+1] U2 + c)  twice         and its neighbours, zero beyond the ends
        p = softmax over lines of (h Q + q), transposed, times h       four weighted means (Bahdanau et al., ICLR 2015)
        logit = relu([p, max over lines of h, z] V + d) · o + e

    In float64, so that Python and C agree to the last digits.

    Args:
        arrays: `judge_*` of heads.npz.
        width: Numbers of a line.

    Raises:
        KeyError, ValueError: An array is missing, or not of the shape that this takes.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], width: int) -> None:
        self._w = {
            k.removeprefix("judge_"): np.asarray(v, np.float64) for k, v in arrays.items() if k.startswith("judge_")
        }
        hidden, last = self._w["line_b"].size, self._w["last_b"].size
        queries = self._w["query_b"].size
        shapes = {
            "line_mean": (width,),
            "line_deviation": (width,),
            "picture_mean": (PICTURE_FACTS,),
            "picture_deviation": (PICTURE_FACTS,),
            "line": (width, hidden),
            "near1": (3 * hidden, hidden),
            "near1_b": (hidden,),
            "near2": (3 * hidden, hidden),
            "near2_b": (hidden,),
            "query": (hidden, queries),
            "last": ((queries + 1) * hidden + PICTURE_FACTS, last),
            "out": (last,),
            "out_b": (),
        }
        for name, shape in shapes.items():
            if self._w[name].shape != shape:
                raise ValueError(f"judge_{name} is {self._w[name].shape}, not {shape}")

    def __call__(self, lines: npt.NDArray[Any], picture: npt.NDArray[Any]) -> float:
        """Return the logit of N >= 1 lines x numbers, in reading order, and of `picture_facts`."""
        w = self._w
        x = np.clip((lines - w["line_mean"]) / w["line_deviation"], -4, 4)
        h = np.maximum(_product(x, w["line"]) + w["line_b"], 0)
        for near in ("near1", "near2"):
            around = np.pad(h, ((1, 1), (0, 0)))
            h = h + np.maximum(_product(np.hstack([around[:-2], h, around[2:]]), w[near]) + w[f"{near}_b"], 0)
        attention = _product(h, w["query"]) + w["query_b"]
        attention = np.exp(attention - attention.max(0))
        pooled = _product((attention / attention.sum(0)).T, h).ravel()
        z = np.clip((picture - w["picture_mean"]) / w["picture_deviation"], -5, 5)
        last = np.maximum(_product(np.concatenate([pooled, h.max(0), z]), w["last"]) + w["last_b"], 0)
        return float((last * w["out"]).sum() + w["out_b"])


def _decoded(arrays: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return arrays by name; `NAME_int8` and `NAME_scale`, one factor a column, become their product `NAME`."""
    out = {k: v for k, v in arrays.items() if not k.endswith(("_int8", "_scale"))}
    for k, v in arrays.items():
        if k.endswith("_int8"):
            out[k.removesuffix("_int8")] = v * arrays[k.removesuffix("int8") + "scale"]
    return out


def _product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """a @ b. By einsum, since a BLAS wakes threads that go on spinning for 30 ms after products as small as these."""
    return np.asarray(np.einsum("...j,jk->...k", a, b))


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
                self._heads = _decoded({k: arrays[k].astype(np.float32) for k in arrays.files})
            for block in ("concepts", "triggers", "facts"):
                self._blocks[block]
            self._judge = _Judge(self._heads, self.width + LINE_FACTS)
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
            The probability that the view gives orders or asks for harm, and how much each line takes part, in [0, 1]. From
            even odds on, what is left without the lines that take part by more than .5 is below even odds.
        """
        n = len(evidence)
        if not n:
            return 0.0, np.zeros(0, np.float32)
        order = reading_order(lines.quads)
        each, ground = layout(lines)
        own = np.concatenate([evidence, each], 1)[order]

        def without(gone: npt.NDArray[np.bool_]) -> float:
            return -np.inf if gone.all() else self._judge(own[~gone], picture_facts(own[~gone], ground))

        logit = without(np.zeros(n, np.bool_))
        score = float(1 / (1 + np.exp(-np.clip(logit, -30, 30))))
        parts = self._parts(evidence[order])
        if logit > 0:
            gone = parts > 0.5
            if without(gone) > 0:
                for i in np.argsort([without(np.arange(n) == i) for i in range(n)], kind="stable"):
                    gone[i] = True
                    if without(gone) <= 0:
                        break
            parts[gone] = np.maximum(parts[gone], score)
        part = np.zeros(n, np.float32)
        part[order] = parts
        return score, part

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
