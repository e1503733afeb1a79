"""Prompts: injection, jailbreak, harmful request, and text that was hidden (obfuscation).

A cascade. The native normaliser unmasks the text and every payload it hides; the linear model scores each of them in
microseconds; only where it is not sure that all is well does the encoder read the text, in overlapping windows. A score
is the calibrated probability of the ensemble

    p_k = sigmoid(a_k * encoder_k + b_k * linear_k + c_k)

or, where the cascade stopped at the first stage, of the linear model alone. Where the vocabulary breaks words up
(other languages than English), `harmful` has coefficients that trust the encoder less. Coefficients, cascade limits and operating
points are in the encoder's `config.json`; they were fitted on sources that neither model was trained on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core, runtime
from ..errors import ModelError
from ..types import Finding

CLASSES = ("injection", "jailbreak", "harmful")
_WHY = {
    "injection": "The text tries to override the model's instructions or to read them out",
    "jailbreak": "The text tries to talk the model out of its safety rules",
    "harmful": "The text asks for something dangerous, illegal or hateful",
}
#: Windows of one text that the encoder reads at most: 64 x 94 tokens are about 24,000 characters. The linear model
#: reads texts of any length; beyond this bound the encoder reads the places that it found worst.
_WINDOWS = 64
_BATCH = 16  # windows in one run of the graph: more gain nothing on a CPU and cost memory


def sigmoid(z: float) -> float:
    """Return 1 / (1 + exp(-z)) without overflow."""
    return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


@dataclass(frozen=True, slots=True)
class _Reading:
    """One text that is scored: the visible one, or a payload."""

    text: str
    trick: str | None
    span: tuple[int, int] | None  # of the payload, in the source; None for the visible text
    logits: tuple[float, float, float]
    spans: tuple[tuple[int, int], ...]  # per class, in `text`


@dataclass(frozen=True, slots=True)
class _Encoded:
    """What the encoder says about one reading."""

    logits: list[float]
    places: list[tuple[int, int]]  # per class, in the reading's text
    fragments: float  # share of the pieces that continue a word


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    a, b, c = map(float, values)
    return a, b, c


class TextDetector:
    """Scores a prompt, or any other text that reaches the model (metadata, QR codes, lines read off a picture).

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Threads for one call of the encoder.
        cascade: False lets the encoder read every text (slower, for calibration and benchmarks).

    Attributes:
        ensemble: (a, b, c) for each class.
        alone: (b, c) for each class, where the encoder did not run.

    Raises:
        ModelError: A model is missing or altered.
    """

    name = "text"
    kinds: tuple[str, ...] = (*CLASSES, "obfuscation")

    def __init__(self, models: str | Path | None = None, threads: int = 1, *, cascade: bool = True) -> None:
        self._encoder = runtime.load("text_encoder", models, threads)
        self._first = runtime.load("text_linear", models, threads)
        config = self._encoder.config
        if tuple(self._encoder.labels) != CLASSES or tuple(self._first.labels) != CLASSES:
            raise ModelError(f"text models must have the labels {', '.join(CLASSES)}, in this order")
        try:
            fit = config["calibration"]
            self.ensemble = tuple(_three(fit["ensemble"][k]) for k in CLASSES)
            foreign = fit["fragmented"]
            self._fragmented = tuple(_three(foreign.get(k, fit["ensemble"][k])) for k in CLASSES)
            self._share = float(foreign["share"])
            self.alone = tuple((float(b), float(c)) for b, c in (fit["linear"][k] for k in CLASSES))
            self._sure = [float(fit["cascade"][k]) if cascade else -math.inf for k in CLASSES]
            self._tricks = {str(k): float(v) for k, v in config["tricks"].items()}
            self._window, self._step = int(config["window"]["tokens"]), int(config["window"]["step"])
            if not 0 < self._step <= self._window - 2:
                raise ValueError("step must be positive and at most tokens - 2")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self._encoder.name}: config.json lacks the calibration: {error!r}") from None
        self._linear = _core.text.Linear(self._first.file("weights.bin"))
        vocabulary = self._encoder.file("vocab.txt")
        self._pieces = _core.text.WordPiece(vocabulary)
        self._continues = np.array([piece.startswith(b"##") for piece in vocabulary.splitlines()])

    @property
    def models(self) -> dict[str, str]:
        """Model name → version tag with checksum, for the verdict."""
        return {m.name: m.tag for m in (self._first, self._encoder)}

    def operating_points(self, fpr: float) -> Mapping[str, float]:
        """Return kind → threshold at a false-positive rate on ordinary benign prompts."""
        return self._encoder.points(fpr)

    def __call__(self, text: str) -> list[Finding]:
        """Return one finding for each class, and one for each trick that hides text.

        Args:
            text: Any string; its length is not limited, time is linear in it.
        """
        return self.explain(text)[0]

    def explain(self, text: str) -> tuple[list[Finding], dict[str, Any]]:
        """Return the findings and the raw numbers: logits of both stages, whether the encoder ran, and what share of the
        text's pieces continue a word."""
        normal = _core.text.normalize(text)
        readings = [self._read(normal.text, None, None)]
        readings += [self._read(f.payload, f.trick, (f.begin, f.end)) for f in normal.found if f.payload]
        best: list[tuple[float, _Reading, tuple[int, int], float | None]] = []
        ran = False
        encoded: dict[int, _Encoded] = {}
        for i, reading in enumerate(readings):
            if any(z >= limit for z, limit in zip(reading.logits, self._sure, strict=True)):
                encoded[i] = self._encode(reading)
                ran = True
        for k in range(len(CLASSES)):
            options: list[tuple[float, _Reading, tuple[int, int], float | None]] = []
            for i, reading in enumerate(readings):
                z = reading.logits[k]
                if i in encoded:
                    seen = encoded[i]
                    p = self._probable(reading, seen)[k]
                    # where a text is so long that stages disagree on the place, the encoder's is the narrower one
                    options.append((p, reading, seen.places[k], seen.logits[k]))
                else:
                    b, c = self.alone[k]
                    options.append((sigmoid(b * z + c), reading, reading.spans[k], None))
            best.append(max(options, key=lambda o: o[0]))
        findings = []
        for k, kind in enumerate(CLASSES):
            score, reading, span, encoder = best[k]
            where = reading.span or (int(normal.origin[span[0]]), int(normal.origin[span[1]]))
            why = _WHY[kind] + (f", hidden by {reading.trick}." if reading.trick else ".")
            detail: dict[str, Any] = {"linear": round(reading.logits[k], 4)}
            if encoder is not None:
                detail["encoder"] = round(encoder, 4)
            if reading.trick:
                detail["trick"] = reading.trick
            findings.append(Finding(kind, score, why, "text", span=where, detail=detail))
        worst = {r.span: max(self._probable(r, encoded.get(i))) for i, r in enumerate(readings) if r.span is not None}
        for f in normal.found:
            score = self._tricks.get(f.trick, 0.5)
            payload = worst.get((f.begin, f.end), 0.0) if f.payload else 0.0
            score = max(score, payload)  # hiding something harmless is odd, hiding an attack is one
            findings.append(
                Finding(
                    "obfuscation",
                    score,
                    f"{f.count} character{'s' if f.count != 1 else ''} hide text by {f.trick}.",
                    "text",
                    span=(f.begin, f.end),
                    detail={"trick": f.trick, "count": f.count, "payload": round(payload, 4)},
                )
            )
        visible = encoded.get(0)
        raw = {
            "linear": readings[0].logits,
            "encoder": visible.logits if visible else None,
            "encoder_ran": ran,
            "fragments": visible.fragments if visible else None,
        }
        return findings, raw

    def _read(self, text: str, trick: str | None, span: tuple[int, int] | None) -> _Reading:
        logits, spans = self._linear.score(text)
        return _Reading(text, trick, span, logits, spans)

    def _probable(self, reading: _Reading, encoded: _Encoded | None) -> list[float]:
        if encoded is None:
            return [sigmoid(b * z + c) for (b, c), z in zip(self.alone, reading.logits, strict=True)]
        both = self._fragmented if encoded.fragments > self._share else self.ensemble
        pairs = zip(both, encoded.logits, reading.logits, strict=True)
        return [sigmoid(a * e + b * z + c) for (a, b, c), e, z in pairs]

    def _encode(self, reading: _Reading) -> _Encoded:
        """Return the encoder's highest logit per class over the windows, and that window's place in the text."""
        ids, origin = self._pieces.encode(reading.text)
        size = self._window - 2
        starts = list(range(0, max(1, len(ids) - size + self._step), self._step))
        if len(starts) > _WINDOWS:
            starts = self._worst(starts, origin, reading, size)
        windows = [(start, min(start + size, len(ids))) for start in starts]
        windows.sort(key=lambda w: w[1] - w[0])
        logits = [-math.inf] * len(CLASSES)
        places = [(0, len(reading.text))] * len(CLASSES)
        for _, same in itertools.groupby(windows, key=lambda w: w[1] - w[0]):  # no padding, so no mask
            part = list(same)
            for at in range(0, len(part), _BATCH):
                batch = part[at : at + _BATCH]
                for row, (start, end) in zip(self._run([ids[a:b] for a, b in batch]), batch, strict=True):
                    place = (
                        int(origin[start]) if len(origin) else 0,
                        int(origin[end]) if end < len(origin) else len(reading.text),
                    )
                    for k, z in enumerate(row):
                        if z > logits[k]:
                            logits[k], places[k] = float(z), place
        return _Encoded(logits, places, float(self._continues[ids].mean()) if len(ids) else 0.0)

    def _worst(self, starts: list[int], origin: npt.NDArray[np.uint32], reading: _Reading, size: int) -> list[int]:
        """Choose windows of a very long text: the first, the last, and those the linear model scores highest."""

        def suspicion(start: int) -> float:
            end = int(origin[start + size]) if start + size < len(origin) else len(reading.text)
            return max(self._linear.score(reading.text[int(origin[start]) : end])[0])

        inner = sorted(starts[1:-1], key=suspicion, reverse=True)[: _WINDOWS - 2]
        return [starts[0], *sorted(inner), starts[-1]]

    def _run(self, windows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        """Logits of windows of one length."""
        ids = np.full((len(windows), len(windows[0]) + 2), 2, np.int64)  # [CLS]
        ids[:, 1:-1] = windows
        ids[:, -1] = 3  # [SEP]
        logits = self._encoder.run({"ids": ids})[0]
        if logits.shape != (len(windows), len(CLASSES)) or not np.isfinite(logits).all():
            raise ModelError(f"{self._encoder.name}: the graph gave {logits.shape}, or numbers that are not finite")
        return logits
