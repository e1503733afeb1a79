"""The README's demo: attack pictures are made and judged, and what comes out is clean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ondevice_guard import Decision, Guard, Verdict

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Name → verdict under the default policy, of every picture that the demo makes."""
    out = tmp_path_factory.mktemp("pictures")
    command = [sys.executable, str(ROOT / "examples" / "make_attacks.py"), str(ROOT / "examples" / "photos"), str(out)]
    subprocess.run(command, check=True, capture_output=True)
    guard = Guard()
    paths = sorted(out.iterdir())
    return {path.stem: verdict for path, verdict in zip(paths, guard.check_many(paths), strict=True)}


def test_clean_pictures_keep_their_pixels(verdicts: dict[str, Verdict]) -> None:
    clean = {name: v for name, v in verdicts.items() if name.startswith("clean-")}
    assert len(clean) >= 8
    assert {name: v.reasons for name, v in clean.items() if v.decision is not Decision.ALLOW} == {}
    for path in (ROOT / "examples" / "photos").glob("*.jpg"):
        np.testing.assert_array_equal(
            clean[f"clean-{path.stem}"].to_numpy(), np.asarray(Image.open(path).convert("RGB"))
        )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bomb-30000x30000", "malformed"),
        ("polyglot-zip", "trailing_data"),
        ("metadata-order", "metadata_text"),
        ("metadata-order", "injection"),
        ("frames-order", "extra_frames"),
        ("mismatch-really-png", "type_mismatch"),
        ("alpha-hidden-order", "alpha_divergence"),
        ("scaling-bilinear-336", "scaling"),
        ("typographic-list", "overlay_text"),
        ("typographic-overlay", "overlay_text"),
        ("typographic-overlay", "typographic"),
    ],
)
def test_each_attack_is_named(verdicts: dict[str, Verdict], name: str, kind: str) -> None:
    assert kind in {f.kind for f in verdicts[name].counted}


def test_the_scaling_payload_is_gone_afterwards(verdicts: dict[str, Verdict]) -> None:
    """What the model's plain bilinear resize shows of the safe picture no longer holds the page of text."""
    safe = verdicts["scaling-bilinear-336"].to_numpy()
    seen = Guard({"detectors": []}).preview(safe, "opencv-336").astype(float)
    cover = Image.open(ROOT / "examples" / "photos" / "astronaut.jpg").convert("RGB").resize((336, 336))
    assert np.corrcoef(seen.ravel(), np.asarray(cover, float).ravel())[0, 1] > 0.9
