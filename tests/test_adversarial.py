"""The residual sums against a plain reference, and the perturbation detector's promises."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ondevice_guard import _core, errors
from ondevice_guard.detectors.adversarial import FEATURES, AdversarialDetector, ratios
from ondevice_guard.types import Image, View, Views

SIZES = [(1, 1), (4, 9), (5, 5), (20, 21), (36, 37), (33, 70), (64, 224), (91, 300)]
MODEL = Path(__file__).resolve().parents[1] / "models" / "adversarial_v1"
GOLDEN = Path(__file__).resolve().parent / "golden" / "perturbation.npz"
PHOTO = Path(__file__).resolve().parents[1] / "examples" / "photos" / "astronaut.jpg"


def reference(image: np.ndarray) -> np.ndarray:
    """The sums of cpp/include/ondevice_guard/residual.hpp, written with whole arrays."""
    if image.ndim == 2:
        planes = (image.astype(np.int64), np.zeros(image.shape, np.int64), np.zeros(image.shape, np.int64))
    else:
        r, g, b = (image[..., i].astype(np.int64) for i in range(3))
        planes = ((r + 2 * g + b + 2) >> 2, r - g, b - g)
    h, w = image.shape[0] - 4, image.shape[1] - 4
    down, across = max(1, -(-h // 16)), max(1, -(-w // 16))
    if h < 1 or w < 1:
        return np.zeros((down, across, 82), np.int64)

    def diagonal(p: np.ndarray, d: int) -> np.ndarray:
        return np.clip(p[:-d, :-d] - p[:-d, d:] - p[d:, :-d] + p[d:, d:], -63, 63)

    def inner(p: np.ndarray, dy: int = 0, dx: int = 0) -> np.ndarray:
        return p[dy : dy + h, dx : dx + w]

    details = [diagonal(p, 1) for p in planes]
    sums = [np.ones((h, w), np.int64)]
    for p, a in zip(planes, details, strict=True):
        size = np.abs(inner(a))
        sums += [size, inner(a) ** 2, np.abs(inner(diagonal(p, 2))), np.abs(inner(diagonal(p, 4)))]
        sums += [np.minimum(np.abs(inner(p) - inner(p, dy, dx)), 63) for dy, dx in ((0, 1), (1, 0))]
        sums += [inner(a) * inner(a, dy, dx) for dy, dx in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1))]
        sums += [(size <= edge).astype(np.int64) for edge in (0, 1, 2, 4, 8, 16, 32)]
    y, u, v = (inner(a) for a in details)
    sums += [y * u, y * v, u * v]
    rows, columns = np.mgrid[:h, :w]
    for a in (y, u):
        sums += [np.abs(a) * ((rows & 1) == py) * ((columns & 1) == px) for py in (0, 1) for px in (0, 1)]
    luma = planes[0]
    sums += [np.minimum(np.abs(inner(luma) - inner(luma, 0, 1)), 63) * ((columns & 7) == k) for k in range(8)]
    sums += [np.minimum(np.abs(inner(luma) - inner(luma, 1, 0)), 63) * ((rows & 7) == k) for k in range(8)]
    stack = np.pad(np.stack(sums, -1), ((0, down * 16 - h), (0, across * 16 - w), (0, 0)))
    return stack.reshape(down, 16, across, 16, -1).sum((1, 3))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_tile_sums_are_the_formula(backend: str, size: tuple[int, int], channels: int) -> None:
    shape = size if channels == 1 else (*size, channels)
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    expected = reference(image)
    for threads in (1, 2, 4):
        np.testing.assert_array_equal(_core.residual.tile_sums(image, threads=threads), expected)
    np.testing.assert_array_equal(_core.residual.tile_sums(image[:, ::-1]), reference(image[:, ::-1]))


def test_ratios_are_finite_for_flat_and_extreme_pictures() -> None:
    checker = (np.indices((60, 60)).sum(0) % 2 * 255).astype(np.uint8)
    for image in (np.zeros((60, 60, 3), np.uint8), np.full((60, 60, 3), 255, np.uint8), np.dstack([checker] * 3)):
        sums = _core.residual.tile_sums(image)
        made = ratios(sums.reshape(1, -1, sums.shape[-1]))
        assert made.shape == (1, FEATURES)
        assert np.isfinite(made).all()


def views(pixels: np.ndarray) -> Views:
    image = Image(pixels=pixels)
    return Views(image, {"original": View("original", pixels)})


@pytest.fixture(scope="module")
def detector() -> AdversarialDetector:
    return AdversarialDetector(MODEL)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    from PIL import Image as Pillow

    return np.asarray(Pillow.open(PHOTO).convert("RGB").resize((300, 280), Pillow.Resampling.LANCZOS))


def test_ordinary_photographs_score_low(detector: AdversarialDetector, photo: np.ndarray) -> None:
    (finding,) = detector(views(photo))
    point = detector.operating_points(0.01)["adversarial"]
    assert finding.kind == "adversarial"
    assert finding.score < point
    flat = np.full((120, 90, 3), 255, np.uint8)
    assert detector(views(flat))[0].score < point


def test_noise_is_not_a_perturbation(detector: AdversarialDetector, photo: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    noisy = np.clip(np.rint(photo + rng.standard_normal(photo.shape) * 6), 0, 255).astype(np.uint8)
    assert detector(views(noisy))[0].score < detector.operating_points(0.01)["adversarial"]


def test_a_real_perturbation_is_told_from_its_photograph(detector: AdversarialDetector) -> None:
    """PGD-8, 10 steps, against EfficientNet-Lite0 (training/purifier/attacks.py), on examples/photos/astronaut.jpg."""
    with np.load(GOLDEN) as golden:
        clean, delta = golden["clean"], golden["delta"]
    attacked = (clean.astype(np.int16) + delta).astype(np.uint8)
    point = detector.operating_points(0.01)["adversarial"]
    assert detector(views(clean))[0].score < point < detector(views(attacked))[0].score


def test_small_pictures_are_left_alone(detector: AdversarialDetector) -> None:
    assert list(detector(views(np.zeros((20, 400, 3), np.uint8)))) == []


def test_score_is_the_same_on_every_backend(backend: str, detector: AdversarialDetector, photo: np.ndarray) -> None:
    score = detector(views(photo))[0]
    _core.backend.force("scalar" if "scalar" in _core.backend.available() else None)
    assert detector(views(photo))[0] == score


def test_unusable_weights_are_refused(tmp_path: Path) -> None:
    import hashlib

    folder = tmp_path / "adversarial_v1"
    shutil.copytree(MODEL, folder)
    (folder / "weights.json").write_bytes(b"{}")
    config = json.loads((folder / "config.json").read_text())
    with pytest.raises(errors.ModelError, match="sha256"):
        AdversarialDetector(folder)
    config["files"]["weights.json"] = {"sha256": hashlib.sha256(b"{}").hexdigest(), "bytes": 2}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(errors.ModelError, match=r"weights\.json"):
        AdversarialDetector(folder)
