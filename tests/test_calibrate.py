"""Calibration: the conformal guarantee in simulation, the edges, and the policy file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage

from ondevice_guard import Policy, calibrate, cli
from ondevice_guard.errors import InputError, UnsupportedInput

HALF = {"adversarial": 0.5, "typographic": 0.5, "scaling": 0.5}


def draw(rng: np.random.Generator, n: int) -> list[dict[str, float]]:
    """Benign pictures: skewed scores, one kind mostly 0, two kinds dependent."""
    base = rng.random(n)
    scores = {
        "adversarial": base**3,
        "typographic": np.clip(base**3 * 0.7 + rng.random(n) * 0.3, 0, 1),
        "scaling": np.where(rng.random(n) < 0.9, 0.0, rng.random(n)),
    }
    return [{k: round(float(v[i]), 6) for k, v in scores.items()} for i in range(n)]


@pytest.mark.parametrize(("joint", "tighten"), [(False, False), (False, True), (True, False), (True, True)])
def test_the_rate_holds_on_average_over_calibration_sets(joint: bool, tighten: bool) -> None:
    rng, fpr, rates = np.random.default_rng(1), 0.05, []
    fresh = draw(rng, 4000)
    for _ in range(150):
        made = calibrate.fit(Policy(), HALF, draw(rng, 120), fpr, joint=joint, tighten=tighten).policy.thresholds
        if joint:
            rates.append([np.mean([any(row[k] >= made[k] for k in made) for row in fresh])])
        else:
            rates.append([np.mean([row[k] >= made[k] for row in fresh]) for k in made])
    means, errors = np.mean(rates, axis=0), np.std(rates, axis=0) / np.sqrt(len(rates))
    assert (means <= fpr + 3 * errors).all()
    if tighten:
        assert (means >= fpr * 0.5).all()  # and it is not bought with thresholds that never fire


@given(st.integers(1, 400), st.sampled_from([0.5, 0.1, 0.05, 0.01]))
def test_rank_is_the_conformal_one(n: int, fpr: float) -> None:
    if n < round(1 / fpr) - 1:
        with pytest.raises(InputError, match="at least"):
            calibrate.rank(n, fpr)
    else:
        k = calibrate.rank(n, fpr)
        assert (n + 1 - k) / (n + 1) <= fpr + 1e-9 < (n + 2 - k) / (n + 1) + 1e-9


def test_upper_bound_is_that_of_clopper_and_pearson() -> None:
    stats = pytest.importorskip("scipy.stats")
    for n, k in ((99, 99), (500, 496), (1000, 991)):
        assert calibrate.upper_bound(n, k) == pytest.approx(stats.beta.ppf(0.95, n + 1 - k, k), rel=1e-6)


def test_thresholds_are_only_raised_unless_asked() -> None:
    rows = [{"adversarial": 0.1, "scaling": 0.0} for _ in range(200)]
    assert calibrate.fit(Policy(), HALF, rows, 0.01).policy.thresholds == {"adversarial": 0.5, "scaling": 0.5}
    tight = calibrate.fit(Policy(), HALF, rows, 0.01, tighten=True).policy.thresholds
    assert tight == {"adversarial": pytest.approx(0.100001), "scaling": 0.5}


def test_what_cannot_be_reached_is_said() -> None:
    rows = [{"adversarial": float(i < 10)} for i in range(200)]
    made = calibrate.fit(Policy(), HALF, rows, 0.01)
    assert made.unattainable == ("adversarial",) and made.about["unattainable"] == ["adversarial"]
    assert made.policy.thresholds["adversarial"] == 1.0


def test_ignored_kinds_and_facts_about_files_are_left_alone() -> None:
    policy = Policy().replace(actions={"scaling": "ignore"})
    rows = [{"scaling": 1.0, "metadata_text": 1.0, "adversarial": 0.9} for _ in range(200)]
    assert set(calibrate.fit(policy, HALF, rows, 0.01).policy.thresholds) == {"adversarial"}


def test_bad_rates_are_refused() -> None:
    for fpr in (0.0, 1.0, -1.0):
        with pytest.raises(UnsupportedInput, match="fpr"):
            calibrate.fit(Policy(), HALF, [{}] * 200, fpr)


def test_the_policy_file_reads_back_equal(tmp_path: Path) -> None:
    policy = Policy.named("strict").replace(
        thresholds={"scaling": 0.1 + 0.2}, limits={"pixels": 12345, "formats": ["png", "tiff"]}
    )
    about = {"inputs": ['a "quoted"\n\\name\x7f', "ü"], "pictures": 7, "fpr": 1e-3, "flag": True}
    file = tmp_path / "p.toml"
    file.write_text(calibrate.to_toml(policy, about), "utf-8")
    assert Policy.load(file) == policy
    import sys

    if sys.version_info >= (3, 11):
        import tomllib

        assert tomllib.loads(file.read_text("utf-8"))["fitted_on"] == about


def test_the_command_writes_a_policy_that_says_what_it_was_fitted_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "benign"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(25):
        image = PILImage.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize(
            (80, 60), PILImage.Resampling.BICUBIC
        )
        image.save(folder / f"{i}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    base = tmp_path / "base.toml"
    base.write_text('name = "mine"\ndetectors = []\n')
    arguments = ["calibrate", str(folder), "--policy", str(base), "-o", str(tmp_path / "fitted.toml"), "--fpr"]
    assert cli.main([*arguments, "0.05"]) == 0
    out = capsys.readouterr().out
    assert "25 pictures, 1 unusable" in out
    fitted = (tmp_path / "fitted.toml").read_text()
    assert "[fitted_on]" in fitted and '"pictures" = 25' in fitted and '"base" = "mine"' in fitted
    assert Policy.load(tmp_path / "fitted.toml").name == "mine-calibrated"
    assert cli.main([*arguments, "0.01"]) == 2
    assert "at least 99 are needed" in capsys.readouterr().err
