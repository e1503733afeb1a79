"""Findings → decision and plan. Pure: no pixels, no models, no clock; the only file it reads is a policy in TOML.

A policy answers three questions about each kind of finding:

* **threshold**: from which score on does it count? The user's own value wins, then the operating point that the model
  recorded at the policy's false-positive rate (`fpr`, or the kind's own in `rates`), then `DEFAULT_THRESHOLDS`.
* **action**: what then? `ignore` < `flag` (say so) < `sanitize` (change or drop it) < `block`.
* **plan**: which pixels does `sanitize` touch for it?
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from .errors import PolicyError
from .types import KINDS, Decision, Finding, Limits, Plan

ACTIONS = ("ignore", "flag", "sanitize", "block")
FILL_METHODS = ("inpaint", "blur", "box")
PURIFY_PRESETS = ("fast", "balanced", "strong", "randomized")
DETECTORS = ("structural", "adversarial", "typographic", "content", "text", "response")

#: Where no model recorded an operating point. Structural scores are built so that 0.5 separates what their module
#: measured on hostile files from what it measured on ordinary ones (benchmarks/results/scaling.json for `scaling`).
DEFAULT_THRESHOLDS: Mapping[str, float] = MappingProxyType(dict.fromkeys(KINDS, 0.5) | {"unsafe_content": 0.8})

#: A picture that was rebuilt and still scores this much on `scaling`, on a grid of at most SPARED pixels a period, has not
#: lost its payload, so it is not handed out: a bilinear or bicubic resize to half the size reads every pixel, and nothing is
#: spared to rebuild from (`signal.hpp`). All 3 of 231 rebuilt attacks that still showed their payload are of that kind
#: (benchmarks/scaling.py), with 0.79 (evidence 1.5) and more and periods up to 2.01. Wider grids that stay are printing
#: screens and cloth.
UNMENDED = 0.79
SPARED = 2.1

#: What sanitize does for a kind besides dropping everything that is not pixels.
_FILLS = ("typographic", "overlay_text", "hidden_text", "qr_code", "split_payload")
_TEXT_KINDS = ("injection", "jailbreak", "harmful", "obfuscation")

_BALANCED: Mapping[str, str] = MappingProxyType(
    {
        "malformed": "block",
        "type_mismatch": "flag",
        "trailing_data": "sanitize",
        "metadata_text": "sanitize",
        "thumbnail_mismatch": "sanitize",
        "extra_frames": "sanitize",
        "alpha_divergence": "sanitize",
        "scaling": "sanitize",
        "adversarial": "sanitize",
        "typographic": "sanitize",
        "overlay_text": "flag",
        "hidden_text": "sanitize",
        "qr_code": "flag",
        "unsafe_content": "block",
        "injection": "block",
        "jailbreak": "block",
        "harmful": "block",
        "obfuscation": "flag",
        "delegation": "flag",
        "split_payload": "block",
        "harmful_response": "block",
        "canary_leak": "block",
        "unrequested_action": "flag",
    }
)
_RATES: Mapping[str, float] = MappingProxyType({"harmful_response": 0.002})
_PERMISSIVE = MappingProxyType(
    {**_BALANCED, "type_mismatch": "ignore", "qr_code": "ignore", "overlay_text": "ignore", "obfuscation": "ignore"}
)
_STRICT = MappingProxyType(
    {
        **_BALANCED,
        "type_mismatch": "block",
        "alpha_divergence": "block",
        "typographic": "block",
        "overlay_text": "sanitize",
        "hidden_text": "block",
        "qr_code": "sanitize",
        "obfuscation": "block",
        "delegation": "block",
        "unrequested_action": "block",
    }
)


@dataclass(frozen=True)
class Outcome:
    """What the policy decided about one input.

    Attributes:
        decision: `ALLOW`, `SANITIZED` or `BLOCK`.
        plan: What sanitize must do to the pixels.
        reasons: One sentence for each kind that counted, worst first.
        thresholds: kind → the threshold that was applied.
    """

    decision: Decision
    plan: Plan
    reasons: tuple[str, ...]
    thresholds: Mapping[str, float]


@dataclass(frozen=True)
class Policy:
    """What counts, and what is done about it. Immutable; `replace` makes a changed copy.

    Attributes:
        name: Shown in the verdict.
        fpr: False-positive rate on benign input at which model thresholds are taken (0.002, 0.01 or 0.03).
        rates: kind → another such rate, where one kind's false alarms cost less or more than others'. A wrong
            `harmful_response` takes a whole answer away, and a long answer is looked at many times: it is taken at 0.002.
        thresholds: kind → score in [0, 1]; only the kinds the user wants to set himself.
        actions: kind → one of `ACTIONS`, for every kind.
        limits: What the decoder accepts.
        profiles: Views of the models that will see the picture (`ondevice_guard.views.PROFILES`).
        detectors: Which detectors run.
        background: RGB colour under transparent pixels.
        fill_method: How text regions are redacted: `inpaint`, `blur` or `box`.
        purify: Preset applied when the `adversarial` finding counts; `balanced` and `strong` turn the picture by
            5 degrees.
        low_bits: Low bits overwritten in a picture whose low bits spell text, at least 1 (0-4); no other loses any.
        allow_hosts: Hosts that pictures in chat messages may be fetched from: `"example.org"`, `"*.example.org"`, each
            with `":port"` where it is not 80 or 443. Empty: nothing is ever fetched.
        allow_private_hosts: True to let an allowed host resolve to a private or loopback address.
        fetch_seconds: Wall time of one fetch, redirects included.
        local_paths: True when chat messages may name pictures by a local path (a server must set False).
        allow_parts: Types of message parts that are passed on without being looked at, e.g. `"input_audio"`.
        trusted_roles: Roles whose text is not judged, e.g. `"system"`; their pictures always are.
        max_images: Pictures one request may hold.
        shield: True to add a safety clause to the system message when a finding counts.
    """

    name: str = "balanced"
    fpr: float = 0.01
    rates: Mapping[str, float] = field(default_factory=lambda: _RATES)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    actions: Mapping[str, str] = field(default_factory=lambda: _BALANCED)
    limits: Limits = field(default_factory=Limits)
    profiles: tuple[str, ...] = ("clip-336",)
    detectors: tuple[str, ...] = DETECTORS
    background: tuple[int, int, int] = (255, 255, 255)
    fill_method: str = "inpaint"
    purify: str = "balanced"
    low_bits: int = 1
    allow_hosts: tuple[str, ...] = ()
    allow_private_hosts: bool = False
    fetch_seconds: float = 10.0
    local_paths: bool = True
    allow_parts: tuple[str, ...] = ()
    trusted_roles: tuple[str, ...] = ()
    max_images: int = 64
    shield: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.fpr < 1:
            raise PolicyError(f"fpr must be between 0 and 1, got {self.fpr!r}")
        for kind, value in self.rates.items():
            if kind not in KINDS:
                raise PolicyError(f"rates: unknown finding kind {kind!r}; known: {', '.join(KINDS)}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1:
                raise PolicyError(f"rates.{kind} must be between 0 and 1, got {value!r}")
        for kind, value in self.thresholds.items():
            if kind not in KINDS:
                raise PolicyError(f"thresholds: unknown finding kind {kind!r}; known: {', '.join(KINDS)}")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
                raise PolicyError(f"thresholds.{kind} must be a number in [0, 1], got {value!r}")
        for kind, action in self.actions.items():
            if kind not in KINDS:
                raise PolicyError(f"actions: unknown finding kind {kind!r}; known: {', '.join(KINDS)}")
            if action not in ACTIONS:
                raise PolicyError(f"actions.{kind} must be one of {', '.join(ACTIONS)}, got {action!r}")
        if self.actions.get("malformed") != "block":
            raise PolicyError("actions.malformed must stay 'block': there are no pixels to hand out")
        for name in self.detectors:
            if name not in DETECTORS:
                raise PolicyError(f"detectors: unknown detector {name!r}; known: {', '.join(DETECTORS)}")
        if self.fill_method not in FILL_METHODS:
            raise PolicyError(f"fill_method must be one of {', '.join(FILL_METHODS)}, got {self.fill_method!r}")
        if self.purify not in PURIFY_PRESETS:
            raise PolicyError(f"purify must be one of {', '.join(PURIFY_PRESETS)}, got {self.purify!r}")
        if not (isinstance(self.low_bits, int) and 0 <= self.low_bits <= 4):
            raise PolicyError(f"low_bits must be an integer from 0 to 4, got {self.low_bits!r}")
        if len(self.background) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in self.background):
            raise PolicyError(f"background must be three integers from 0 to 255, got {self.background!r}")
        for key in ("allow_hosts", "allow_parts", "trusted_roles"):
            if not all(isinstance(v, str) and v for v in getattr(self, key)):
                raise PolicyError(f"{key} must be a list of strings, got {getattr(self, key)!r}")
        for key in ("allow_private_hosts", "local_paths", "shield"):
            if not isinstance(getattr(self, key), bool):
                raise PolicyError(f"{key} must be true or false, got {getattr(self, key)!r}")
        if (
            isinstance(self.fetch_seconds, bool)
            or not isinstance(self.fetch_seconds, (int, float))
            or not self.fetch_seconds > 0
        ):
            raise PolicyError(f"fetch_seconds must be a positive number, got {self.fetch_seconds!r}")
        if isinstance(self.max_images, bool) or not isinstance(self.max_images, int) or self.max_images < 1:
            raise PolicyError(f"max_images must be a positive integer, got {self.max_images!r}")
        # Mappings are copied so that nobody can change a policy behind our back; plain dicts keep it picklable.
        object.__setattr__(self, "thresholds", {k: float(v) for k, v in self.thresholds.items()})
        object.__setattr__(self, "rates", {k: float(v) for k, v in self.rates.items()})
        object.__setattr__(self, "actions", {**_BALANCED, **self.actions})

    # ------------------------------------------------------------------ making one

    @classmethod
    def named(cls, name: str) -> Policy:
        """Return `permissive`, `balanced` or `strict`.

        Raises:
            PolicyError: for any other name.
        """
        if name == "permissive":
            return cls(name=name, fpr=0.002, actions=_PERMISSIVE, purify="fast")
        if name == "balanced":
            return cls(name=name)
        if name == "strict":
            return cls(
                name=name, fpr=0.03, actions=_STRICT, fill_method="box", purify="strong", low_bits=2, shield=True
            )
        raise PolicyError(f"unknown policy {name!r}; use 'permissive', 'balanced', 'strict', a Policy or a .toml path")

    @classmethod
    def load(cls, source: str | Path | Policy | Mapping[str, Any]) -> Policy:
        """Return the policy for a name, a `.toml` path, a mapping or a `Policy`.

        Raises:
            PolicyError: the name, a key, a type or a value is not known; or the file cannot be read.
        """
        if isinstance(source, Policy):
            return source
        if isinstance(source, Mapping):
            return cls.from_dict(source)
        if isinstance(source, Path) or str(source).endswith(".toml"):
            return cls.from_dict(_read_toml(Path(source)))
        return cls.named(source)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Policy:
        """Build a policy from plain tables, as read from TOML.

        `base` names the policy to start from (default `balanced`); every other key is a field of `Policy`. Tables
        (`rates`, `thresholds`, `actions`, `limits`) are merged into the base, so setting one entry leaves the others.

        Raises:
            PolicyError: an unknown key, a wrong type or an impossible value.
        """
        table = dict(table)
        table.pop("fitted_on", None)  # provenance written by `ondevice-guard calibrate`
        base = cls.named(table.pop("base", "balanced"))
        return base.replace(**table)

    def replace(self, **changes: Any) -> Policy:
        """Return a copy with some fields changed; the tables `rates`, `thresholds`, `actions` and `limits` are merged.

        Raises:
            PolicyError: an unknown key, a wrong type or an impossible value.
        """
        known = {f.name for f in dataclasses.fields(self)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise PolicyError(f"unknown key {unknown[0]!r} in policy; known: {', '.join(sorted(known))}")
        for key in ("rates", "thresholds", "actions"):
            if key in changes:
                changes[key] = {**getattr(self, key), **_table(key, changes[key])}
        if "limits" in changes and not isinstance(changes["limits"], Limits):
            changes["limits"] = _replace_limits(self.limits, _table("limits", changes["limits"]))
        for key in ("profiles", "detectors", "background", "allow_hosts", "allow_parts", "trusted_roles"):
            if key in changes:
                if isinstance(changes[key], str) or not isinstance(changes[key], Sequence):
                    raise PolicyError(f"{key} must be a list, got {changes[key]!r}")
                changes[key] = tuple(changes[key])
        for key, kind in (("name", str), ("fpr", float)):
            if key in changes and not isinstance(changes[key], kind):
                raise PolicyError(f"{key} must be a {kind.__name__}, got {changes[key]!r}")
        return dataclasses.replace(self, **changes)

    # ------------------------------------------------------------------ using one

    def effective_thresholds(self, operating_points: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return the threshold of every kind: the user's, else the model's operating point, else the default."""
        return {**DEFAULT_THRESHOLDS, **(operating_points or {}), **self.thresholds}

    def decide(
        self,
        findings: Sequence[Finding],
        operating_points: Mapping[str, float] | None = None,
        looks: Sequence[Sequence[Finding]] = (),
    ) -> Outcome:
        """Turn findings into a decision, a plan and reasons.

        Args:
            findings: From all detectors, in any order.
            operating_points: kind → threshold recorded by the models at this policy's `fpr`.
            looks: What the detectors found at each later look, in the picture that the plan so far remakes
                (`Plan.remakes`). What the last of them found is what gets redacted and purified, so that nothing is filled
                that is no longer there; the background is chosen by `findings` alone, for what was laid over one has no
                alpha left. A picture that was rebuilt and still shows a sampling grid (`UNMENDED`, `SPARED`) is blocked.

        Returns:
            The outcome. It depends on nothing but the arguments.
        """
        thresholds = self.effective_thresholds(operating_points)
        everything = [*findings, *(f for look in looks for f in look)]
        counted = [f for f in everything if f.score >= thresholds[f.kind] and self._action(f) != "ignore"]
        counted.sort(key=lambda f: (-ACTIONS.index(self._action(f)), -f.score, f.kind))
        worst = self._action(counted[0]) if counted else "ignore"
        to_clean = [f for f in counted if self._action(f) == "sanitize"]
        reasons = [f"{f.kind} ({self._action(f)}): {f.why}" for f in counted]
        last = (looks or [findings])[-1]
        rebuilt = {id(f) for f in to_clean if f.kind == "scaling"} - {id(f) for f in last}
        gridded = [f for f in last if f.kind == "scaling" and f.detail.get("period", 0) <= SPARED]
        unmended = [f for f in gridded if rebuilt and f.score >= UNMENDED]
        if worst == "block":
            decision, plan = Decision.BLOCK, Plan()
        elif unmended:
            decision, plan = Decision.BLOCK, Plan()
            reasons.insert(0, f"scaling (block): {unmended[0].why} Rebuilding the picture does not change that.")
        elif to_clean:
            first, now = ([f for f in to_clean if any(f is g for g in look)] for look in (findings, last))
            decision, plan = Decision.SANITIZED, self._plan(to_clean, first, now)
        else:
            decision, plan = Decision.ALLOW, Plan()
        return Outcome(decision, plan, tuple(dict.fromkeys(reasons)), thresholds)

    def _action(self, finding: Finding) -> str:
        """The action for a finding. Text that only metadata or a QR code carries is dropped with its carrier, so it
        need not block the picture unless the policy blocks on that carrier."""
        action = self.actions[finding.kind]
        if finding.kind in _TEXT_KINDS and action == "block":
            if finding.view.startswith("metadata:"):
                return self.actions["metadata_text"]
            if finding.view.startswith("qr:"):
                return "block" if self.actions["qr_code"] == "block" else "sanitize"
        return action

    def _plan(self, to_clean: Sequence[Finding], first: Sequence[Finding], last: Sequence[Finding]) -> Plan:
        fill = tuple(q for f in last if f.kind in _FILLS or f.view.startswith("qr:") for q in f.regions)
        background = next((f.detail["background"] for f in first if "background" in f.detail), None)
        low_bits = any(
            f.detail.get("carrier") == "pixels:low_bits" or "pixels:low_bits" in f.detail.get("carriers", ())
            for f in to_clean
        )
        return Plan(
            fill=tuple(dict.fromkeys(fill)),
            fill_method=self.fill_method,
            purify=self.purify if any(f.kind == "adversarial" for f in last) else None,
            descale=any(f.kind == "scaling" for f in to_clean),
            reset_low_bits=max(self.low_bits, 1) if low_bits else 0,
            background=None if background is None else (background[0], background[1], background[2]),
        )


def _table(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PolicyError(f"{key} must be a table, got {value!r}")
    return value


def _replace_limits(limits: Limits, changes: Mapping[str, Any]) -> Limits:
    known = {f.name: getattr(limits, f.name) for f in dataclasses.fields(limits)}
    clean: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in known:
            raise PolicyError(f"limits: unknown key {key!r}; known: {', '.join(known)}")
        if isinstance(known[key], tuple):
            if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
                raise PolicyError(f"limits.{key} must be a list of strings, got {value!r}")
            value = tuple(value)
        elif isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
            raise PolicyError(f"limits.{key} must be a positive number, got {value!r}")
        else:
            value = type(known[key])(value)
        clean[key] = value
    try:
        return dataclasses.replace(limits, **clean)
    except ValueError as error:
        raise PolicyError(f"limits: {error}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
        return table
    except OSError as error:
        raise PolicyError(f"cannot read policy {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path} is not valid TOML: {error}") from None
