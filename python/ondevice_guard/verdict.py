"""The end of the corridor: what was decided, why, and the safe picture."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from . import decode
from .errors import GuardBlocked
from .inputs import Source, data_uri
from .types import Decision, Finding, Pixels

SCHEMA_VERSION = 1
_Self = TypeVar("_Self", bound="Decided")


class Decided:
    """What every verdict says, of a picture, an answer or a whole request: may it be used, and why."""

    decision: Decision
    reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return self.decision in (Decision.ALLOW, Decision.SANITIZED)

    def raise_if_blocked(self: _Self) -> _Self:
        """Return self when safe.

        Raises:
            GuardBlocked: the decision is BLOCK or ERROR.
        """
        if not self:
            raise GuardBlocked(self)
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation, JSON-able; never pictures or texts."""
        return {
            "schema_version": SCHEMA_VERSION,
            "decision": str(self.decision),
            "safe": bool(self),
            "reasons": list(self.reasons),
        }

    def to_json(self, indent: int | None = None) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


class Scored(Decided):
    """A verdict about one thing, with the evidence for it."""

    findings: tuple[Finding, ...]
    scores: Mapping[str, float]
    thresholds: Mapping[str, float]

    @property
    def counted(self) -> tuple[Finding, ...]:
        """The findings at or above their threshold, worst first."""
        return tuple(f for f in self.findings if f.score >= self.thresholds.get(f.kind, 2.0))

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation, JSON-able; never pictures or texts."""
        return {
            **super().to_dict(),
            "findings": [f.to_dict() for f in self.findings],
            "scores": {k: round(float(v), 6) for k, v in self.scores.items()},
            "thresholds": {k: round(float(v), 6) for k, v in self.thresholds.items()},
        }


@dataclass(frozen=True)
class Verdict(Scored):
    """What the guard decided about one request. Frozen, picklable; `bool(verdict)` means "safe to send".

    Attributes:
        decision: `ALLOW` (untouched pixels), `SANITIZED` (changed as the plan asked), `BLOCK`, or `ERROR` (something
            failed, so nothing is handed out).
        findings: All evidence with raw scores, worst first; low scores too.
        scores: Every kind that was looked for → highest score in [0, 1], present on a pass too.
        thresholds: kind → threshold that was applied.
        reasons: One sentence for each kind that counted, worst first.
        policy: Name of the policy.
        timings_ms: Stage → milliseconds of wall time.
        models: Model name → version and checksum of what ran.
        backend: What computed: the instruction set, and the CUDA device or why there was none.
        seed: Seed of every random choice that was made.
        size: (width, height) of the original picture, None for text alone.
        format: Container format of the original (`"array"` for pixels), None for text alone.
    """

    decision: Decision
    findings: tuple[Finding, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    policy: str = ""
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    backend: str = ""
    seed: int = 0
    size: tuple[int, int] | None = None
    format: str | None = None
    _pixels: Pixels | None = field(default=None, repr=False, compare=False)
    _source: Source | None = field(default=None, repr=False, compare=False)

    # ------------------------------------------------------------------ the safe picture

    @cached_property
    def image(self) -> Any:
        """The safe picture, as the kind of object that came in (see `Source.restore`); None when there is none."""
        if self._pixels is None or self._source is None:
            return None
        return self._source.restore(self._pixels)

    def to_numpy(self) -> Pixels:
        """Return the safe picture, uint8 HxWx3 sRGB, read-only.

        Raises:
            GuardBlocked: there is no safe picture.
        """
        if self._pixels is None:
            raise GuardBlocked(self)
        return self._pixels

    def to_pil(self) -> Any:
        """Return the safe picture as a `PIL.Image.Image` of mode RGB. Raises `GuardBlocked` when there is none."""
        return decode.to_pil(self.to_numpy())

    def to_bytes(self, format: str = "png", quality: int = 95, *, threads: int = 0) -> bytes:
        """Return freshly encoded bytes, one frame, no ancillary data.

        Args:
            format: `"png"` (exactly the pixels that were judged) or `"jpeg"` (smaller, nearly those pixels).
            quality: JPEG quality, 1-100.
            threads: Native threads that make a PNG, whose bytes do not depend on them; 0 for one on each CPU.

        Raises:
            GuardBlocked: there is no safe picture.
            UnsupportedInput: another format.
        """
        return decode.encode(self.to_numpy(), format, quality=quality, threads=threads)

    def to_data_uri(self, format: str = "png") -> str:
        """Return `data:image/…;base64,…` of `to_bytes(format)`."""
        return data_uri(self.to_bytes(format), format)

    # ------------------------------------------------------------------ the explanation

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pixels, JSON-able."""
        return {
            **super().to_dict(),
            "policy": self.policy,
            "size": list(self.size) if self.size else None,
            "format": self.format,
            "timings_ms": {k: round(v, 3) for k, v in self.timings_ms.items()},
            "models": dict(self.models),
            "backend": self.backend,
            "seed": self.seed,
        }

    def _repr_html_(self) -> str:
        colour = {"ALLOW": "#1a7f37", "SANITIZED": "#9a6700"}.get(str(self.decision), "#cf222e")
        rows = "".join(
            f"<tr><td>{html.escape(f.kind)}</td><td>{f.score:.2f}</td><td>{html.escape(f.why)}</td></tr>"
            for f in self.counted
        )
        picture = ""
        if self._pixels is not None and self.size:
            width, height = self.size
            shown = _preview(self._pixels)
            boxes = "".join(
                f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in quad)}" fill="none" '
                f'stroke="#cf222e" stroke-width="{max(width, height) / 200:.1f}"/>'
                for f in self.counted
                for quad in f.regions
            )
            picture = (
                f'<svg viewBox="0 0 {width} {height}" style="max-width:480px;max-height:360px">'
                f'<image href="{data_uri(decode.encode(shown, "jpeg"), "jpeg")}" width="{width}" height="{height}" '
                f'preserveAspectRatio="none"/>{boxes}</svg>'
            )
        return (
            f'<div style="font-family:sans-serif"><b style="color:{colour}">{self.decision}</b> '
            f"<small>policy {html.escape(self.policy)}</small><br>{picture}"
            f"<table>{rows}</table></div>"
        )


def _preview(pixels: Pixels, side: int = 480) -> Pixels:
    """Every n-th pixel, so that a notebook does not carry megabytes."""
    step = max(1, -(-max(pixels.shape[:2]) // side))
    return np.ascontiguousarray(pixels[::step, ::step])
