"""Fit a policy's thresholds to one's own benign pictures, with a guarantee that holds for finitely many of them.

Split conformal prediction (Vovk, Gammerman, Shafer 2005; Papadopoulos et al. 2002). Let s(1) <= ... <= s(n) be a kind's
scores on n benign pictures, and k = ceil((n + 1) (1 - a)). If k <= n and a new benign picture is exchangeable with them,

    P(score > s(k)) <= a

whatever the scores' distribution is. The threshold is the next value above s(k) at the resolution of stored scores.

* **each** (default): every kind by itself fires on at most a share a of benign pictures.
* **joint**: all kinds together do. One half of the pictures fits each kind as above; over the other half,
  u = max over kinds of logit(score) - logit(threshold) is one number a picture, and its conformal quantile is the shift
  in log-odds that all thresholds get. Fitting the shift on other pictures than the thresholds keeps the guarantee exact.

Thresholds are only raised, unless `tighten` asks for the ones that use up the whole rate: a score that no benign picture
reached says little about where an attack begins. What decoding found (trailing bytes, metadata …) is a fact about the
file and no score, so it is left as it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InputError, UnsupportedInput
from .policy import Policy
from .types import KINDS, Limits

Scores = npt.NDArray[np.float64]

#: Records keep six decimals, so a true score lies at most half of this above what is stored.
_STEP = 1e-6
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Fit:
    """A fitted policy and what it rests on.

    Attributes:
        policy: The base policy with the fitted thresholds.
        before: kind → threshold before.
        rates: kind → (share of the pictures at or above the threshold before, and after).
        any_rate: Share of the pictures with any finding that counts, (before, after).
        unattainable: Kinds whose score is 1 on more benign pictures than the rate allows.
        about: The table `fitted_on` of the policy file.
    """

    policy: Policy
    before: Mapping[str, float]
    rates: Mapping[str, tuple[float, float]]
    any_rate: tuple[float, float]
    unattainable: tuple[str, ...]
    about: Mapping[str, Any]


def rank(n: int, fpr: float) -> int:
    """Return k, the rank of the conformal quantile among n scores.

    Raises:
        InputError: n is too small for the rate: at least 1/fpr - 1 pictures are needed.
    """
    k = math.ceil((n + 1) * (1 - fpr) - 1e-9)
    if k > n:
        raise InputError(
            f"{n} pictures cannot show a rate of {fpr:g}; at least {math.ceil(1 / fpr - 1e-9) - 1} are needed"
        )
    return k


def above(scores: Scores, fpr: float) -> float:
    """Return the threshold that at most a share `fpr` of new scores reach; above 1 where no threshold can."""
    return float(np.sort(scores)[rank(len(scores), fpr) - 1]) + _STEP


def upper_bound(n: int, k: int, confidence: float = _CONFIDENCE) -> float:
    """Return the rate that the fitted threshold's true rate stays below with this confidence over calibration sets.

    The true rate follows Beta(n + 1 - k, k) for continuous scores; the bound is where a binomial of n trials has at most
    n - k successes with probability 1 - confidence (Clopper and Pearson 1934).
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        logs = [
            math.lgamma(n + 1)
            - math.lgamma(i + 1)
            - math.lgamma(n - i + 1)
            + i * math.log(x)
            + (n - i) * math.log1p(-x)
            for i in range(n - k + 1)
        ]
        low, high = (x, high) if math.fsum(map(math.exp, logs)) > 1 - confidence else (low, x)
    return high


def fit(
    policy: Policy,
    thresholds: Mapping[str, float],
    rows: Sequence[Mapping[str, float]],
    fpr: float,
    *,
    joint: bool = False,
    tighten: bool = False,
    about: Mapping[str, Any] | None = None,
) -> Fit:
    """Fit thresholds to the scores of benign pictures.

    Args:
        policy: What the fitted policy starts from.
        thresholds: kind → threshold in force (`Guard.thresholds`).
        rows: For each picture, kind → score; a kind that is absent counts as 0. In an order that has nothing to do with
            the scores, because `joint` cuts it in two.
        fpr: The rate a.
        joint: Hold the rate for all kinds together, not for each.
        tighten: Lower thresholds, too, where benign scores leave room.
        about: More entries for `fitted_on`.

    Raises:
        UnsupportedInput: the rate is not between 0 and 1.
        InputError: there are too few pictures for the rate.
    """
    if not 0 < fpr < 1:
        raise UnsupportedInput(f"fpr must be between 0 and 1, got {fpr!r}")
    kinds = sorted({k for row in rows for k in row if policy.actions[k] != "ignore" and KINDS[k] != "decode"})
    table = {kind: np.array([row.get(kind, 0.0) for row in rows], np.float64) for kind in kinds}
    half = slice(0, len(rows) // 2) if joint else slice(None)
    fitted: dict[str, float] = {}
    unattainable = []
    for kind in kinds:
        threshold = above(table[kind][half], fpr)
        if threshold > 1:
            unattainable.append(kind)
        lower = tighten and threshold > _STEP  # all zeros say nothing
        fitted[kind] = min(1.0, threshold if lower else max(threshold, thresholds[kind]))
    k, n = rank(len(rows[half]), fpr), len(rows[half])
    if joint:
        rest = slice(len(rows) // 2, None)
        margins = [_logit(table[kind][rest]) - _logit(np.float64(fitted[kind])) for kind in kinds]
        worst = np.max(margins, axis=0) if kinds else np.zeros(len(rows[rest]))
        k, n = rank(len(worst), fpr), len(worst)
        shift = float(np.sort(worst)[k - 1])
        if shift >= 0 or tighten:
            for kind in kinds:
                moved = float(1 / (1 + np.exp(-(_logit(np.float64(fitted[kind])) + shift)))) + _STEP
                fitted[kind] = min(1.0, moved if tighten else max(moved, fitted[kind]))
                if moved > 1 and kind not in unattainable:
                    unattainable.append(kind)
    fired = {kind: (table[kind] >= thresholds[kind], table[kind] >= fitted[kind]) for kind in kinds}
    any_before, any_after = (
        np.any([f[i] for f in fired.values()] or [np.zeros(len(rows), bool)], axis=0) for i in (0, 1)
    )
    scope = "all kinds together" if joint else "each kind"
    facts = {
        **(about or {}),
        "pictures": len(rows),
        "fpr": fpr,
        "scope": scope,
        "guarantee": f"on a new picture exchangeable with these, {scope} fires with probability at most {fpr:g}",
        "upper_bound_95": round(upper_bound(n, k), 6),
        "unattainable": unattainable,
    }
    return Fit(
        policy.replace(name=f"{policy.name}-calibrated", thresholds=fitted),
        {kind: thresholds[kind] for kind in kinds},
        {kind: (float(b.mean()), float(a.mean())) for kind, (b, a) in fired.items()},
        (float(any_before.mean()), float(any_after.mean())),
        tuple(unattainable),
        facts,
    )


def _logit(score: Any) -> Any:
    """Log-odds, with scores kept a stored step away from 0 and 1."""
    clipped = np.clip(score, _STEP, 1 - _STEP)
    return np.log(clipped / (1 - clipped))


def to_toml(policy: Policy, fitted_on: Mapping[str, Any]) -> str:
    """Return a policy file that `Policy.load` reads back to an equal policy, with `fitted_on` beside it."""
    plain, tables = [], []
    for field in dataclasses.fields(policy):
        value = getattr(policy, field.name)
        if isinstance(value, Limits):
            value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if isinstance(value, Mapping):
            tables.append((field.name, value))
        else:
            plain.append(f"{field.name} = {_toml(value)}")
    tables.append(("fitted_on", fitted_on))
    blocks = [f"[{name}]\n" + "\n".join(f"{_toml(str(k))} = {_toml(v)}" for k, v in t.items()) for name, t in tables]
    return "\n".join(plain) + "\n\n" + "\n\n".join(blocks) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        escaped = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 or ord(c) == 127 else c for c in value)
        return '"' + escaped.encode("utf-8", "replace").decode() + '"'
    if isinstance(value, Iterable):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    raise UnsupportedInput(f"a policy cannot hold {type(value).__name__}")
