"""Policy: pure decisions, named operating points, and TOML that fails loudly."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ondevice_guard.errors import PolicyError
from ondevice_guard.policy import ACTIONS, DEFAULT_THRESHOLDS, SPARED, UNMENDED, Policy
from ondevice_guard.types import KINDS, Decision, Finding, Plan, box

QUAD = box(1, 2, 30, 40)


def finding(kind: str, score: float = 0.9, **more: object) -> Finding:
    return Finding(kind, score, f"{kind} was seen", "test", **more)  # type: ignore[arg-type]


def test_nothing_found_is_allowed_with_an_empty_plan() -> None:
    outcome = Policy().decide([finding("typographic", 0.01), finding("scaling", 0.0)])
    assert outcome.decision is Decision.ALLOW
    assert outcome.plan == Plan() and not outcome.plan
    assert outcome.reasons == ()


@pytest.mark.parametrize(
    ("policy", "kind", "expected"),
    [
        ("balanced", "typographic", Decision.SANITIZED),
        ("strict", "typographic", Decision.BLOCK),
        ("balanced", "overlay_text", Decision.ALLOW),
        ("strict", "overlay_text", Decision.SANITIZED),
        ("permissive", "qr_code", Decision.ALLOW),
        ("balanced", "malformed", Decision.BLOCK),
        ("balanced", "injection", Decision.BLOCK),
        ("balanced", "trailing_data", Decision.SANITIZED),
        ("balanced", "type_mismatch", Decision.ALLOW),
        ("strict", "type_mismatch", Decision.BLOCK),
    ],
)
def test_named_policies_act_as_documented(policy: str, kind: str, expected: Decision) -> None:
    assert Policy.named(policy).decide([finding(kind)]).decision is expected


def test_plan_holds_what_each_kind_asks_for() -> None:
    found = [
        finding("typographic", regions=(QUAD,)),
        finding("hidden_text", regions=(QUAD, box(5, 5, 9, 9))),
        finding("overlay_text", regions=(box(50, 50, 60, 60),)),  # only flagged under balanced: must stay
        finding("adversarial"),
        finding("scaling"),
        finding("metadata_text", detail={"carrier": "pixels:low_bits"}),
    ]
    plan = Policy().decide(found).plan
    assert plan.fill == (QUAD, box(5, 5, 9, 9))
    assert plan.purify == "balanced" and plan.descale and plan.reset_low_bits == 1


def test_what_is_left_after_a_picture_is_remade_is_what_gets_redacted() -> None:
    first = [finding("scaling", 1.0), finding("hidden_text", view="nearest", regions=(QUAD,)), finding("adversarial")]
    assert Policy().decide(first).plan.fill == (QUAD,)
    plan = Policy().decide(first, looks=[[finding("scaling", 0.1), finding("hidden_text", 0.1, regions=(QUAD,))]]).plan
    assert plan.descale and plan.remakes and not plan.fill and plan.purify is None
    other = tuple((x + 9, y) for x, y in QUAD)
    plan = Policy().decide(first, looks=[[finding("typographic", regions=(other,)), finding("adversarial")]]).plan
    assert plan.fill == (other,) and plan.purify == "balanced"
    assert Policy().decide(first, looks=[[finding("unsafe_content", 1.0)]]).decision is Decision.BLOCK


def test_later_looks_only_add_to_what_remakes_a_picture() -> None:
    first = [finding("alpha_divergence", 0.7, detail={"background": [1, 2, 3]})]
    looks = [[finding("scaling"), finding("hidden_text", regions=(QUAD,))]]
    plans = [Policy().decide(first).plan, Policy().decide(first, looks=looks).plan]
    assert [p.remade for p in plans] == [(False, (1, 2, 3)), (True, (1, 2, 3))]
    assert plans[1].fill == (QUAD,)
    looks.append([finding("alpha_divergence", 1.0, detail={"background": [9, 9, 9]})])
    plan = Policy().decide(first, looks=looks).plan
    assert plan.remade == (True, (1, 2, 3)) and not plan.fill


def test_a_picture_that_was_rebuilt_in_vain_is_not_handed_out() -> None:
    first, still = [finding("scaling", 0.9)], [finding("scaling", UNMENDED)]
    outcome = Policy().decide(first, looks=[still])
    assert outcome.decision is Decision.BLOCK and not outcome.plan
    assert outcome.reasons[0].startswith("scaling (block)")
    assert Policy().decide(first, looks=[[finding("scaling", UNMENDED - 0.01)]]).plan.descale
    # A resize to half the size spares no pixel to rebuild from; a wider grid that stays is a printing screen, or cloth.
    half, wide = ([finding("scaling", 1.0, detail={"period": p})] for p in (2.0, SPARED + 0.01))
    assert Policy().decide(first, looks=[half]).decision is Decision.BLOCK
    assert Policy().decide(first, looks=[wide]).plan.descale
    # The picture of a look that came before anything was rebuilt says nothing yet.
    alpha = [finding("alpha_divergence", detail={"background": [1, 2, 3]})]
    assert Policy().decide(alpha, looks=[still]).plan.descale
    assert Policy().decide(alpha, looks=[[finding("scaling")], still]).decision is Decision.BLOCK
    assert Policy().replace(actions={"scaling": "flag"}).decide(first, looks=[still]).decision is Decision.ALLOW


def test_one_block_wins_over_everything_and_comes_first() -> None:
    outcome = Policy().decide([finding("scaling", 1.0), finding("unsafe_content", 0.85), finding("overlay_text", 1.0)])
    assert outcome.decision is Decision.BLOCK
    assert not outcome.plan
    assert [r.split()[0] for r in outcome.reasons] == ["unsafe_content", "scaling", "overlay_text"]


def test_thresholds_the_users_then_the_models_then_the_default() -> None:
    policy = Policy().replace(thresholds={"scaling": 0.7})
    got = policy.effective_thresholds({"scaling": 0.2, "adversarial": 0.33})
    assert (got["scaling"], got["adversarial"], got["typographic"]) == (0.7, 0.33, DEFAULT_THRESHOLDS["typographic"])
    assert set(got) == set(KINDS)


def test_setting_one_threshold_leaves_the_others() -> None:
    before = Policy.named("strict")
    after = before.replace(thresholds={"scaling": 0.9}, actions={"qr_code": "block"})
    assert after.effective_thresholds() == {**before.effective_thresholds(), "scaling": 0.9}
    assert after.actions == {**before.actions, "qr_code": "block"}


def test_injection_in_metadata_drops_the_metadata_not_the_picture() -> None:
    outcome = Policy().decide([finding("injection", view="metadata:png:tEXt")])
    assert outcome.decision is Decision.SANITIZED and not outcome.plan
    outcome = Policy().decide([finding("injection", view="qr:0", regions=(QUAD,))])
    assert outcome.decision is Decision.SANITIZED and outcome.plan.fill == (QUAD,)


@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.floats(0, 1)), max_size=8), st.randoms())
def test_decision_does_not_depend_on_the_order(pairs: list[tuple[str, float]], random: object) -> None:
    found = [finding(kind, score) for kind, score in pairs]
    shuffled = found[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    a, b = Policy().decide(found), Policy().decide(shuffled)
    assert (a.decision, set(a.reasons), set(a.plan.fill)) == (b.decision, set(b.reasons), set(b.plan.fill))


@given(st.sampled_from(sorted(KINDS)), st.floats(0, 1), st.sampled_from(["permissive", "balanced", "strict"]))
def test_a_higher_score_is_never_judged_milder(kind: str, score: float, name: str) -> None:
    severity = [Decision.ALLOW, Decision.SANITIZED, Decision.BLOCK]
    policy = Policy.named(name)
    low, high = policy.decide([finding(kind, score)]), policy.decide([finding(kind, 1.0)])
    assert severity.index(low.decision) <= severity.index(high.decision)


def test_toml_round(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "strict"\nname = "mine"\nfill_method = "blur"\nbackground = [0, 0, 0]\n'
        '[thresholds]\ntypographic = 0.25\n[actions]\nqr_code = "ignore"\n[limits]\nframes = 3\nformats = ["png", "jpeg"]\n'
    )
    policy = Policy.load(path)
    assert (policy.name, policy.fill_method, policy.background) == ("mine", "blur", (0, 0, 0))
    assert policy.thresholds == {"typographic": 0.25} and policy.actions["qr_code"] == "ignore"
    assert policy.actions["typographic"] == "block"  # from strict
    assert policy.limits.frames == 3 and policy.limits.formats == ("png", "jpeg")
    assert policy.limits.pixels == Policy().limits.pixels
    assert Policy.load(str(path)) == policy == pickle.loads(pickle.dumps(policy))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('colour = "red"', "unknown key 'colour'"),
        ("[thresholds]\ntypografic = 0.5", "unknown finding kind 'typografic'"),
        ("[thresholds]\ntypographic = 1.5", r"must be a number in \[0, 1\]"),
        ("[thresholds]\ntypographic = true", r"must be a number in \[0, 1\]"),
        ("[thresholds]\ntypographic = nan", r"must be a number in \[0, 1\]"),
        ('[actions]\nscaling = "explode"', "must be one of ignore, flag, sanitize, block"),
        ('[actions]\nmalformed = "flag"', "must stay 'block'"),
        ("[limits]\npixels = -1", "positive number"),
        ("[limits]\npixel = 5", "limits: unknown key 'pixel'"),
        ('[limits]\nformats = "png"', "list of strings"),
        ('base = "lenient"', "unknown policy 'lenient'"),
        ("fpr = 2.0", "between 0 and 1"),
        ("[rates]\nadversarial = 0", "rates.adversarial must be between 0 and 1"),
        ("[rates]\nnoise = 0.01", "rates: unknown finding kind 'noise'"),
        ('fpr = "low"', "fpr must be a float"),
        ('profiles = "clip-336"', "profiles must be a list"),
        ('detectors = ["magic"]', "unknown detector 'magic'"),
        ("background = [0, 0, 300]", "three integers"),
        ('purify = "extreme"', "purify must be one of"),
        ("thresholds = 3", "thresholds must be a table"),
        ("this is not toml", "not valid TOML"),
    ],
)
def test_a_wrong_policy_fails_and_says_why(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(PolicyError, match=message):
        Policy.load(path)


def test_a_missing_policy_file_is_a_policy_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot read policy"):
        Policy.load(tmp_path / "absent.toml")


def test_every_kind_has_an_action_in_every_policy() -> None:
    for name in ("permissive", "balanced", "strict"):
        policy = Policy.named(name)
        assert set(policy.actions) == set(KINDS)
        assert set(policy.actions.values()) <= set(ACTIONS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policy().name = "other"  # type: ignore[misc]
