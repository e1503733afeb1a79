"""What stands between a request and a model: nothing, one filter, one stage of the guard, or a whole policy.

Filters change every picture alike: our purification presets, and JPEG, median, bit depth and total-variation minimisation
with the parameters that the Adversarial Robustness Toolbox publishes as its defaults.

A guard's detectors see a request once (`Replay`); every policy and every ablation is then decided from the recorded
scores by the same pure `policy.decide`, and carried out by the same `sanitize`, so a table of thirty defenses costs one
pass. `tests/test_defenses.py` holds a replay against the guard itself.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core, decode, sanitize
from ..errors import UnsupportedInput
from ..guard import Guard, settle
from ..policy import Policy
from ..purification import PRESET_NAMES, purify
from ..types import KINDS, Decision, Finding, Pixels, Plan
from ..verdict import Verdict
from .attacks import Style, write
from .gradient import Filter

POLICIES = ("permissive", "balanced", "strict")
#: The stages that an ablation switches on alone, or off: the makers of `KINDS`, before the model's answer.
STAGES = ("decode", "structural", "adversarial", "typographic", "content", "text", "crossmodal")

# ---------------------------------------------------------------------- filters


def _jpeg(image: Pixels, seed: int, quality: int = 50) -> Pixels:
    """ART JpegCompression(quality=50)."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(decode.encode(image, "jpeg", quality=quality))).convert("RGB"))


def _median(image: Pixels, seed: int) -> Pixels:
    """ART SpatialSmoothing(window_size=3)."""
    return _core.purify.median(np.ascontiguousarray(image), 3, threads=1)


def _bit_depth(image: Pixels, seed: int, bits: int = 4) -> Pixels:
    """ART FeatureSqueezing(bit_depth=4), after Xu et al. 2018."""
    top = 2**bits - 1
    return np.asarray(np.rint(np.rint(image / 255 * top) / top * 255).astype(np.uint8))


def tvm_loss(
    z: npt.NDArray[Any], x: npt.NDArray[Any], mask: npt.NDArray[Any], weight: float
) -> npt.NDArray[np.float64]:
    """Return ||mask (z - x)|| + weight (sum of the norms of row differences and of column differences), one for each plane.

    Args:
        z: CxHxW, what is looked for.
        x: CxHxW in [0, 1].
        mask: CxHxW, 1 where the pixel is kept.
        weight: Of the smoothness.
    """
    rows, columns = z[:, 1:] - z[:, :-1], z[:, :, 1:] - z[:, :, :-1]
    smooth = np.sqrt(np.einsum("chw,chw->ch", rows, rows)).sum(1) + np.sqrt(
        np.einsum("chw,chw->cw", columns, columns)
    ).sum(1)
    kept = mask * (z - x)
    return np.asarray(np.sqrt(np.einsum("chw,chw->c", kept, kept)) + weight * smooth, np.float64)


def _tvm_gradient(z: npt.NDArray[Any], x: npt.NDArray[Any], mask: npt.NDArray[Any], weight: float) -> npt.NDArray[Any]:
    tiny = np.float32(1e-6)  # the norms have no derivative at zero
    g = mask * (z - x)
    g /= np.maximum(np.sqrt(np.einsum("chw,chw->c", g, g)), tiny)[:, None, None]
    rows, columns = z[:, 1:] - z[:, :-1], z[:, :, 1:] - z[:, :, :-1]
    rows *= weight / np.maximum(np.sqrt(np.einsum("chw,chw->ch", rows, rows)), tiny)[:, :, None]
    columns *= weight / np.maximum(np.sqrt(np.einsum("chw,chw->cw", columns, columns)), tiny)[:, None, :]
    g[:, 1:] += rows
    g[:, :-1] -= rows
    g[:, :, 1:] += columns
    g[:, :, :-1] -= columns
    return np.asarray(g)


def total_variation_minimisation(
    image: Pixels, seed: int = 0, *, keep: float = 0.3, weight: float = 0.5, iterations: int = 20
) -> Pixels:
    """Random pixels are kept, the rest is filled in smoothly (Guo et al. 2018; ART TotalVarMin(prob=.3, norm=2, lamb=.5)).

    ART runs ten iterations of L-BFGS; here the same loss falls by steepest descent, the step halved where it overshoots,
    so that no SciPy is needed.

    Args:
        image: uint8 HxWx3.
        seed: Of the kept pixels.
        keep: Share of pixels kept.
        weight: Of the smoothness.
        iterations: Descent steps.
    """
    x = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32) / 255
    mask = (np.random.default_rng(seed).random(x.shape) < keep).astype(np.float32)
    z, step = x.copy(), np.full(3, 0.5, np.float32)
    value = tvm_loss(z, x, mask, weight)
    for _ in range(iterations):
        g = _tvm_gradient(z, x, mask, weight)
        g /= np.maximum(np.abs(g).max((1, 2)), np.float32(1e-12))[:, None, None]
        for _ in range(6):
            moved = np.clip(z - step[:, None, None] * g, 0, 1)
            new = tvm_loss(moved, x, mask, weight)
            better = new < value
            z[better], value = moved[better], np.where(better, new, value)
            step = np.where(better, step * 1.3, step / 2).astype(np.float32)
            if better.all():
                break
    return np.asarray(np.rint(z.transpose(1, 2, 0) * 255).astype(np.uint8))


def _preset(name: str) -> Filter:
    return lambda x, seed: purify(x, name, seed=seed, threads=1)


def filters() -> dict[str, Filter]:
    """Return name → filter: our presets, then the peers as ART publishes them."""
    ours = {f"purify {name}": _preset(name) for name in PRESET_NAMES}
    peers: dict[str, Filter] = {
        "JPEG q50": _jpeg,
        "median 3x3": _median,
        "bit depth 4": _bit_depth,
        "TV minimisation": total_variation_minimisation,
    }
    return ours | peers


# ---------------------------------------------------------------------- the guard, recorded once


def naive(data: bytes) -> Pixels:
    """Return what a pipeline without a guard hands to its model: Pillow's first frame, alpha dropped, uint8 HxWx3."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return np.array(image.convert("RGBA" if image.mode in ("P", "LA") else image.mode).convert("RGB"))


@dataclass(frozen=True)
class Result:
    """What a defense made of one request.

    Attributes:
        decision: `ALLOW`, `SANITIZED`, `BLOCK` or `ERROR`.
        pictures: What the model would get, uint8 HxWx3; empty when blocked.
        changed: True where a picture's pixels are not those of the original over the policy's background.
    """

    decision: Decision
    pictures: tuple[Pixels, ...] = ()
    changed: bool = False

    def __bool__(self) -> bool:
        return self.decision in (Decision.ALLOW, Decision.SANITIZED)


@dataclass(frozen=True)
class Replay:
    """A request as the detectors saw it: every finding, nothing decided.

    Attributes:
        verdicts: One for each picture, or one for the text alone; each with all findings and the untouched pixels.
        whole: About the request as a whole, where it has several pictures.
        ms: Milliseconds that the detectors took, by stage.
        again: Number of a picture, plan that remakes it → the picture made and what was found in it (`Guard.remake`).
    """

    verdicts: tuple[Verdict, ...]
    whole: Verdict | None
    ms: Mapping[str, float]
    again: Callable[[int, Plan], tuple[Pixels, Sequence[Finding]]]

    @property
    def findings(self) -> list[Finding]:
        """All findings of the request."""
        everything = [*self.verdicts, *((self.whole,) if self.whole else ())]
        return [f for v in everything for f in v.findings]

    def margin(self, policy: Policy, kinds: Sequence[str] | None = None) -> float:
        """Return the largest log-odds by which a score exceeds its threshold under `policy` (negative: nothing counts).

        One number for ROC curves over kinds whose scores live on different scales.
        """
        thresholds = policy.effective_thresholds()
        worst = -40.0
        for finding in self.findings:
            if policy.actions[finding.kind] != "ignore" and (kinds is None or finding.kind in kinds):
                worst = max(worst, _logit(finding.score) - _logit(thresholds[finding.kind]))
        return worst

    def _found(self, i: int, plan: Plan) -> Sequence[Finding]:
        return self.again(i, plan)[1]

    def decide(self, policy: Policy) -> tuple[Decision, tuple[Plan, ...]]:
        """Return what a guard with this policy would decide, and its plan for each picture."""
        decisions, plans = [], []
        for i, verdict in enumerate(self.verdicts):
            if not verdict:
                return verdict.decision, ()  # nothing was decoded, or something broke: every policy refuses
            outcome, _ = settle(policy, verdict.findings, None, partial(self._found, i))
            decisions.append(outcome.decision)
            if verdict.size is not None:
                plans.append(outcome.plan)
        if self.whole is not None and policy.decide(self.whole.findings).decision is Decision.BLOCK:
            decisions.append(Decision.BLOCK)
        if Decision.BLOCK in decisions:
            return Decision.BLOCK, ()
        return Decision.SANITIZED if Decision.SANITIZED in decisions else Decision.ALLOW, tuple(plans)

    def under(self, policy: Policy, seed: int = 0) -> Result:
        """Return what a guard with this policy would hand on; its thresholds must be in the policy (see `Bench`)."""
        decision, plans = self.decide(policy)
        if decision not in (Decision.ALLOW, Decision.SANITIZED):
            return Result(decision)
        made = [
            sanitize.apply(self.again(i, plan)[0] if plan.remakes else self.verdicts[i].to_numpy(), plan, seed)
            for i, plan in enumerate(plans)
        ]
        return Result(decision, tuple(made), any(plans))


def _logit(p: float) -> float:
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))


class Bench:
    """A guard that records instead of deciding, and the policies to decide with.

    Args:
        policies: Names, `.toml` paths or `Policy` objects.
        models: Directory of model folders; None searches the usual places.
        threads: Threads of one call.
        seed: Of randomised purification.

    Attributes:
        policies: name → policy with every threshold written out, so that it decides as its guard does.
        models: Model name → version and checksum.
    """

    def __init__(
        self,
        policies: Sequence[str | Path | Policy] = POLICIES,
        *,
        models: str | Path | None = None,
        threads: int = 1,
        seed: int = 0,
    ) -> None:
        self.seed = seed
        self.policies: dict[str, Policy] = {}
        for source in policies:
            guard = Guard(source, models=models, threads=threads, seed=seed)
            name = str(source) if isinstance(source, (str, Path)) else source.name
            self.policies[name] = guard.policy.replace(thresholds=guard.thresholds)
        base = Policy.load(policies[0])
        flags = {kind: "block" if kind == "malformed" else "flag" for kind in KINDS}
        self.guard = Guard(base.replace(actions=flags, shield=False), models=models, threads=threads, seed=seed)
        self.models = dict(sorted(self.guard.check(np.full((64, 64, 3), 128, np.uint8), "hello").models.items()))

    @property
    def base(self) -> Policy:
        """The policy that ablations and curves start from: `balanced` where it is there, else the first."""
        return self.policies.get("balanced", next(iter(self.policies.values())))

    def record(self, pictures: Sequence[bytes | Pixels], text: str = "") -> Replay:
        """Run every detector on a request."""
        if not pictures and not text:
            raise UnsupportedInput("nothing to judge: no picture and no text")
        verdicts = [self.guard.check(p, text or None) for p in pictures] or [self.guard.check(None, text)]
        whole = self.guard.check_together(verdicts, text) if len(pictures) > 1 and all(verdicts) else None
        ms: dict[str, float] = {}
        for verdict in (*verdicts, *((whole,) if whole else ())):
            for stage, value in verdict.timings_ms.items():
                ms[stage] = ms.get(stage, 0.0) + value
        known: dict[tuple[object, ...], tuple[Pixels, Sequence[Finding]]] = {}

        def again(i: int, plan: Plan) -> tuple[Pixels, Sequence[Finding]]:
            key = (i, plan.remade)
            if key not in known:
                known[key] = self.guard.remake(pictures[i], plan)
            return known[key]

        return Replay(tuple(verdicts), whole, ms, again)


def only(policy: Policy, stage: str) -> Policy:
    """Return the policy with every kind but those of one stage ignored (re-encoding stays: it is how pixels are handed out)."""
    return _restricted(policy, lambda kind: KINDS[kind] == stage, f"only {stage}")


def without(policy: Policy, stage: str) -> Policy:
    """Return the policy with the kinds of one stage ignored."""
    return _restricted(policy, lambda kind: KINDS[kind] != stage, f"without {stage}")


def _restricted(policy: Policy, keep: Callable[[str], bool], name: str) -> Policy:
    actions = {
        kind: action if keep(kind) or kind == "malformed" else "ignore" for kind, action in policy.actions.items()
    }
    return policy.replace(actions=actions, name=name)


def shifted(policy: Policy, by: float) -> Policy:
    """Return the policy with every threshold moved by `by` in log-odds: a point on its safety-utility curve."""
    moved = {
        k: 1 / (1 + math.exp(-min(max(_logit(t) + by, -30.0), 30.0))) for k, t in policy.effective_thresholds().items()
    }
    return policy.replace(thresholds=moved, name=f"{policy.name} {by:+g}")


# ---------------------------------------------------------------------- adaptive: search against the text detectors


@dataclass(frozen=True)
class Found:
    """The best layout of a search: picture, strokes, style, and how often the detectors were asked."""

    pixels: Pixels
    strokes: Pixels
    style: Style
    margin: float
    queries: int


#: What the search may not go below, so that what it finds is still an attack: a person reads the text without effort.
LEGIBLE: Mapping[str, float] = MappingProxyType({"size": 0.034, "contrast": 25.0})


def legible(clean: Pixels, written: Pixels, strokes: Pixels, size: int) -> bool:
    """True when letters are at least 3.4 % of the picture's height and their luma stands out by 25 grey levels.

    15 pixels of 448 are what a patch of 14 pixels of today's vision encoders still resolves; 25 levels are a Michelson
    contrast of about 0.1 on mid-grey, well above the threshold of vision at that size.
    """
    inked = strokes > 200
    if not inked.any() or size < LEGIBLE["size"] * clean.shape[0]:
        return False
    luma = np.array([0.299, 0.587, 0.114])
    return float(np.abs((written[inked].astype(np.float64) - clean[inked]) @ luma).mean()) >= LEGIBLE["contrast"]


def layout_search(
    margin: Callable[[Pixels], float],
    clean: Pixels,
    text: str,
    *,
    queries: int = 24,
    fonts: Sequence[str | None] = (None,),
    seed: int = 0,
) -> Found:
    """Search for a legible way to write `text` that the detectors rate lowest: random starts, then hill climbing.

    Args:
        margin: What the attacker sees: the detectors' score of a picture, lower is better for him.
        clean: uint8 HxWx3.
        text: The order to hide.
        queries: How often he may ask.
        fonts: Font files to choose from; None is Pillow's.
        seed: Of the search.

    Returns:
        The best legible layout; style and margin of the plain one when nothing better was found.
    """
    rng = np.random.default_rng([29, seed])
    height = clean.shape[0]

    def draw(around: Style | None) -> Style:
        if around is None:
            return Style(
                size=int(rng.integers(round(0.036 * height), round(0.09 * height))),
                colour=tuple(int(c) for c in rng.integers(0, 256, 3)),  # type: ignore[arg-type]
                opacity=float(rng.uniform(0.3, 1.0)),
                angle=float(rng.choice([0.0, rng.uniform(-60, 60)])),
                at=(float(rng.random()), float(rng.random())),
                font=fonts[int(rng.integers(len(fonts)))],
                outline=int(rng.choice([0, 0, 1])),
                width=int(rng.integers(14, 40)),
            )
        near = np.clip(np.array(around.colour) + rng.integers(-40, 41, 3), 0, 255)
        return Style(
            size=max(round(0.036 * height), around.size + int(rng.integers(-4, 5))),
            colour=tuple(int(c) for c in near),  # type: ignore[arg-type]
            opacity=float(np.clip(around.opacity + rng.uniform(-0.2, 0.2), 0.2, 1)),
            angle=around.angle + float(rng.uniform(-15, 15)),
            at=(
                float(np.clip(around.at[0] + rng.uniform(-0.3, 0.3), 0, 1)),
                float(np.clip(around.at[1] + rng.uniform(-0.3, 0.3), 0, 1)),
            ),
            font=fonts[int(rng.integers(len(fonts)))],
            outline=around.outline,
            width=max(10, around.width + int(rng.integers(-6, 7))),
        )

    plain = Style(size=round(0.06 * height), width=24)
    pixels, strokes = write(clean, text, plain)
    best = Found(pixels, strokes, plain, margin(pixels), 1)
    asked, tries = 1, 0
    while asked < queries and tries < 12 * queries:
        tries += 1
        style = draw(None if asked <= queries // 2 else best.style)
        pixels, strokes = write(clean, text, style)
        if not legible(clean, pixels, strokes, style.size):
            continue
        asked += 1
        value = margin(pixels)
        if value < best.margin:
            best = Found(pixels, strokes, style, value, asked)
    return Found(best.pixels, best.strokes, best.style, best.margin, asked)
