"""The residual sums against a plain reference, and the perturbation detector's promises."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from ondevice_guard import _core, errors
from ondevice_guard.detectors.adversarial import FEATURES, AdversarialDetector
from ondevice_guard.types import Finding, Image, View, Views

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
    for every in (2, 3):
        np.testing.assert_array_equal(
            _core.residual.tile_sums(image, every=every, threads=2), expected[::every, ::every]
        )


def test_tile_sums_hold_the_largest_differences(backend: str) -> None:
    """Checkers and stripes of 0 and 255 in opposite channels reach every clip and the largest sums."""
    rows, columns = np.indices((40, 52))
    for pattern in ((rows + columns) & 1, rows & 1, columns & 1, (rows // 2 + columns // 2) & 1):
        image = np.dstack([pattern, 1 - pattern, pattern]).astype(np.uint8) * 255
        np.testing.assert_array_equal(_core.residual.tile_sums(image), reference(image))


def test_tile_sums_refuse_a_useless_sample() -> None:
    with pytest.raises(errors.UnsupportedInput, match="every"):
        _core.residual.tile_sums(np.zeros((40, 40), np.uint8), every=0)


def noise_reference(image: np.ndarray) -> float:
    """The formula of residual.hpp, for pictures small enough that every tile counts."""
    planes = image[..., None].astype(np.int64) if image.ndim == 2 else image[..., :3].astype(np.int64)
    if image.ndim == 2:
        luma, chroma = planes[..., 0], []
    else:
        r, g, b = (planes[..., i] for i in range(3))
        luma, chroma = (r + 2 * g + b + 2) >> 2, [r - g, b - g]
    tall, wide = (min(16, n - 1) for n in luma.shape)

    def tiles(parts: list[np.ndarray]) -> np.ndarray:
        d = sum(np.minimum(np.abs(p[:-1, :-1] - p[:-1, 1:] - p[1:, :-1] + p[1:, 1:]), 63) for p in parts)
        d = d[: d.shape[0] // tall * tall, : d.shape[1] // wide * wide]
        return np.sort(d.reshape(d.shape[0] // tall, tall, -1, wide).mean((1, 3)).ravel())

    def quantile(values: np.ndarray, percent: int) -> float:
        return float(values[(len(values) - 1) * percent // 100])

    low = quantile(tiles([luma]), 10) * 0.6 * 0.6267
    return max(low, quantile(tiles(chroma), 50) * 0.5 * 0.4431) if chroma else low


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [(1, 9), (2, 2), (5, 40), (16, 17), (33, 70), (64, 224), (91, 300)])
def test_noise_level_is_the_formula(backend: str, size: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(2).integers(0, 256, size if channels == 1 else (*size, channels), np.uint8)
    expected = 0.0 if min(size) < 2 else noise_reference(image)
    for threads in (1, 2, 3):
        assert _core.residual.noise_level(image, threads=threads) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("size", [(280, 300), (1080, 1920)])
@pytest.mark.parametrize("sigma", [3, 6, 12])
def test_noise_level_reads_gaussian_noise(photo: np.ndarray, size: tuple[int, int], sigma: int) -> None:
    rng = np.random.default_rng(sigma)
    picture = np.tile(photo, (-(-size[0] // 280), -(-size[1] // 300), 1))[: size[0], : size[1]]
    noisy = np.clip(np.rint(picture + rng.standard_normal(picture.shape) * sigma), 0, 255).astype(np.uint8)
    assert _core.residual.noise_level(noisy) == pytest.approx(sigma, rel=0.15)
    assert _core.residual.noise_level(picture) < 1.5
    shared = np.clip(np.rint(picture + rng.standard_normal((*picture.shape[:2], 1)) * sigma), 0, 255).astype(np.uint8)
    assert _core.residual.noise_level(shared) > 0.4 * sigma


def test_ratios_are_finite_for_flat_and_extreme_pictures() -> None:
    checker = (np.indices((60, 60)).sum(0) % 2 * 255).astype(np.uint8)
    for image in (np.zeros((60, 60, 3), np.uint8), np.full((60, 60, 3), 255, np.uint8), np.dstack([checker] * 3)):
        sums = _core.residual.tile_sums(image)
        made = _core.residual.ratios(sums, [(0, 0, *sums.shape[:2])])
        assert made.shape == (1, FEATURES)
        assert np.isfinite(made).all()


def test_perceptron_is_the_formula_of_its_header(backend: str) -> None:
    rng = np.random.default_rng(0)
    sums = _core.residual.tile_sums(rng.integers(0, 256, (100, 140, 3), dtype=np.uint8))
    regions = [(0, 0, *sums.shape[:2]), (1, 2, 4, 4), (0, 3, 2, 5)]
    sizes = [FEATURES, 19, 3, 1]
    layers = [(rng.standard_normal(s), rng.standard_normal(s[1])) for s in pairwise(sizes)]
    mean, scale = rng.standard_normal(FEATURES), rng.uniform(0.1, 2, FEATURES)
    x = np.clip((_core.residual.ratios(sums, regions) - mean) / scale, -5, 5)
    for w, b in layers[:-1]:
        x = np.maximum(x @ w + b, 0)
    expected = 1.5 * (x @ layers[-1][0] + layers[-1][1])[:, 0] - 0.25
    made = _core.residual.Perceptron(mean, scale, layers, 1.5, -0.25).logits(sums, regions)
    np.testing.assert_allclose(made, expected, rtol=1e-10)
    for wrong in (layers[1:], [*layers, layers[0]], [], [(layers[0][0].T, layers[0][1])]):
        with pytest.raises(errors.UnsupportedInput):
            _core.residual.Perceptron(mean, scale, wrong, 1.0, 0.0)


def ratios_of(tiles: np.ndarray) -> np.ndarray:
    """The ratios of cpp/include/ondevice_guard/residual.hpp, of tiles x 82 sums with whole arrays."""
    t = tiles.astype(np.float64)
    count = t[:, 0]
    planes = t[:, 1:55].reshape(-1, 3, 18)
    energy = np.where(count[:, None] > 0, planes[..., 0] / np.maximum(count, 1)[:, None], np.inf)
    order = np.argsort(energy, axis=0, kind="stable")
    some = int((count > 0).sum())
    out, quiet = [], []
    for p in range(3):
        quiet.append(order[: max(1, len(t) // 4), p])
        for chosen in (slice(None), quiet[p]):
            s, n = planes[chosen, p].sum(0), max(count[chosen].sum(), 1)
            w, logs = s[1] + 0.05 * n, np.log2(s[[0, 2, 3, 4, 5]] / n + 0.02)
            out += [logs[0], *(logs[1:] - logs[0]), s[0] ** 2 / (n * w), *(s[6:11] / w), *(s[11:] / n)]
        levels = np.sort(np.log2(energy[:, p] + 0.02))[: max(some, 1)]
        out += list(np.quantile(levels, [0.05, 0.25, 0.5, 0.75, 0.95]))
    for chosen in (slice(None), quiet[0]):
        w = planes[chosen, :, 1].sum(0) + 0.05 * max(count[chosen].sum(), 1)
        out += list(t[chosen, 55:58].sum(0) / np.sqrt(w[[0, 0, 1]] * w[[1, 2, 2]]))
    even = 0.01 * max(count.sum(), 1)
    for p in (t[:, 58:66].sum(0) + even).reshape(2, 4):
        out += [np.log2(p.max() / p.min()), abs(np.log2((p[0] + p[3]) / (p[1] + p[2])))]
    for b in (t[:, 66:].sum(0) + even).reshape(2, 8):
        out += [np.log2(b.max() / np.median(b)), np.log2(b.min() / np.median(b))]
    return np.array(out)


@pytest.mark.parametrize("size", [(20, 21), (68, 133), (91, 300)])
def test_ratios_are_the_formula(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(3).normal(0, 1, (*size, 3)) * np.linspace(0, 20, size[1])[:, None]
    sums = _core.residual.tile_sums(np.clip(120 + noise.cumsum(1), 0, 255).astype(np.uint8))
    down, across = sums.shape[:2]
    sums[-1, 0] = 0  # a tile without a counted pixel
    regions = [(0, 0, down, across), (down - 1, across - 1, 1, 1), (0, across // 2, down, across - across // 2)]
    made = _core.residual.ratios(sums, regions)
    for (top, left, height, width), row in zip(regions, made, strict=True):
        part = sums[top : top + height, left : left + width].reshape(-1, 82)
        np.testing.assert_allclose(row, ratios_of(part), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("region", [(0, 0, 0, 1), (-1, 0, 2, 2), (0, 1, 2, 3), (2, 0, 1 << 62, 1)])
def test_ratios_refuse_a_region_outside(region: tuple[int, int, int, int]) -> None:
    with pytest.raises(errors.UnsupportedInput, match="region 0"):
        _core.residual.ratios(np.zeros((3, 3, 82), np.int64), [region])


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


def coverage(finding: Finding, inside: tuple[slice, slice], shape: tuple[int, int]) -> tuple[float, float]:
    """Share of a rectangle, and of the rest of the picture, that the finding's regions cover."""
    marked = np.zeros(shape, bool)
    for quad in finding.regions:
        xs, ys = [p[0] for p in quad], [p[1] for p in quad]
        marked[int(min(ys)) : int(max(ys)), int(min(xs)) : int(max(xs))] = True
    patch = np.zeros(shape, bool)
    patch[inside] = True
    return float(marked[patch].mean()), float(marked[~patch].mean())


@pytest.mark.parametrize("corner", [(0, 0), (144, 160), (64, 32)])
def test_a_perturbed_patch_is_found_where_it_is(
    detector: AdversarialDetector, photo: np.ndarray, corner: tuple[int, int]
) -> None:
    with np.load(GOLDEN) as golden:
        delta = golden["delta"]
    inside = tuple(slice(c, c + n) for c, n in zip(corner, delta.shape, strict=False))
    attacked = photo.copy()
    attacked[inside] = np.clip(photo[inside].astype(np.int16) + delta, 0, 255)
    (finding,) = detector(views(attacked))
    assert finding.score >= detector.operating_points(0.03)["adversarial"]
    covered, spilled = coverage(finding, inside, photo.shape[:2])
    assert covered > 0.7
    assert spilled < 0.4
    (ordinary,) = detector(views(photo))
    assert ordinary.regions == ()


def test_a_perturbed_picture_is_marked_almost_everywhere(detector: AdversarialDetector) -> None:
    with np.load(GOLDEN) as golden:
        attacked = (golden["clean"].astype(np.int16) + golden["delta"]).astype(np.uint8)
    (finding,) = detector(views(attacked))
    marked = coverage(finding, (slice(0, 64), slice(0, 128)), attacked.shape[:2])
    assert min(marked) > 0.8


@pytest.mark.parametrize("size", [(700, 900), (1080, 1920)])
def test_large_pictures_are_sampled_and_still_judged(
    detector: AdversarialDetector, photo: np.ndarray, size: tuple[int, int]
) -> None:
    """What the statistics say of a tiling of one photograph does not depend on how many of its tiles are looked at."""
    with np.load(GOLDEN) as golden:
        clean, attacked = golden["clean"], (golden["clean"].astype(np.int16) + golden["delta"]).astype(np.uint8)
    tiled = [np.tile(x, (-(-size[0] // 128), -(-size[1] // 128), 1))[: size[0], : size[1]] for x in (clean, attacked)]
    point = detector.operating_points(0.01)["adversarial"]
    (ordinary,), (perturbed,) = (detector(views(np.ascontiguousarray(x))) for x in tiled)
    assert ordinary.score < point <= perturbed.score
    for quad in perturbed.regions:
        assert all(0 <= x <= size[1] and 0 <= y <= size[0] for x, y in quad)


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
