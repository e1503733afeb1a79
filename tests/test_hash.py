"""Fingerprints: the reference from the header's mathematics, on every backend; look-alikes and shared residuals."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from ondevice_guard import _core, campaign

PHOTOS = sorted((Path(__file__).parents[1] / "examples" / "photos").glob("*.jpg"))


def luma(image: np.ndarray) -> np.ndarray:
    if image.ndim == 2:
        return image
    r, g, b = (image[..., c].astype(np.int64) for c in range(3))
    return ((77 * r + 150 * g + 29 * b + 128) >> 8).astype(np.uint8)


def ranges(cells: int, size: int) -> list[tuple[int, int]]:
    return [(i * size // cells, max((i + 1) * size // cells, i * size // cells + 1)) for i in range(cells)]


def reference(image: np.ndarray) -> tuple[int, int, bytes]:
    """The formulas of hash.hpp, one by one."""
    y = luma(image).astype(object)
    height, width = y.shape
    bands = [(sum(y[r] for r in range(a, b)), b - a) for a, b in ranges(32, height)]
    cells = np.array(
        [[(int(sum(s[a:b])) << 8) // (n * (b - a)) for a, b in ranges(32, width)] for s, n in bands], object
    )
    rows = [(sum(bands[4 * r + i][0] for i in range(4)), sum(bands[4 * r + i][1] for i in range(4))) for r in range(8)]
    broad = [[(int(sum(s[a:b])) << 8) // (n * (b - a)) for a, b in ranges(9, width)] for s, n in rows]
    dhash = int("".join(str(int(broad[r][c + 1] > broad[r][c])) for r in range(8) for c in range(8)), 2)
    table = np.array(
        [[round(2**14 * math.cos(math.pi * (2 * x + 1) * u / 64)) for x in range(32)] for u in range(8)], object
    )
    values = list((table @ cells @ table.T).ravel())
    median = sorted(values[1:])[31]
    phash = int("0" + "".join(str(int(v > median)) for v in values[1:]), 2)
    if min(height, width) < 64:
        return dhash, phash, b""
    g = luma(image).astype(np.int64)[:256, :256]
    r = np.clip(4 * g[1:-1, 1:-1] - g[:-2, 1:-1] - g[2:, 1:-1] - g[1:-1, :-2] - g[1:-1, 2:], -32, 32)
    ys, xs = np.mgrid[1 : g.shape[0] - 1, 1 : g.shape[1] - 1]
    place = 8 * (ys % 8) + xs % 8
    mean = np.array([int(64 * r[place == p].sum()) // int((place == p).sum()) for p in range(64)])
    q = 64 * r - mean[place]
    with np.errstate(over="ignore"):
        z = (256 * ys + xs).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    signed = np.where(z & np.uint64(1), q, -q)
    sums = [int(signed[(z >> np.uint64(56)) == b].sum()) for b in range(256)]
    return dhash, phash, np.packbits([s > 0 for s in sums]).tobytes()


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (8, 9), (31, 33, 3), (64, 65), (70, 301, 4), (257, 300, 3)])
def test_fingerprint_is_the_formula(backend: str, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)
    assert _core.hash.fingerprint(image) == reference(image)
    padded = np.zeros((shape[0] + 3, shape[1] + 5, *shape[2:]), np.uint8)
    padded[2:-1, 3:-2] = image
    assert _core.hash.fingerprint(padded[2:-1, 3:-2], threads=3) == reference(image)


def test_fingerprints_never_change() -> None:
    """Journals keep them: a new value would split every group in two."""
    y, x = np.mgrid[0:120, 0:160]
    image = np.stack([(x * 3 + y) % 256, (x * y // 7) % 256, (x ^ y) % 256], -1).astype(np.uint8)
    dhash, phash, sketch = _core.hash.fingerprint(image)
    assert (f"{dhash:016x}", f"{phash:016x}", sketch.hex()[:16]) == GOLDEN


GOLDEN = ("f7e7c7aececede9c", "000e1e3f3c787973", "4740919d301dac4e")


def record(image: np.ndarray, path: str, decision: str = "BLOCK") -> dict[str, object]:
    dhash, phash, _ = _core.hash.fingerprint(image)
    return {
        "path": path,
        "decision": decision,
        "dhash": f"{dhash:016x}",
        "phash": f"{phash:016x}",
        "verdict": {"counted": ["adversarial"]},
    }


def test_one_picture_in_many_encodings_is_one_group() -> None:
    groups = campaign.Groups()
    for path in PHOTOS:
        image = PILImage.open(path).convert("RGB")
        width, height = image.size
        variants = [image, image.resize((width * 2 // 3, height * 2 // 3))]
        for quality in (90, 60, 30):
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality)
            variants.append(PILImage.open(out))
        for i, variant in enumerate(variants):
            groups.add(record(np.asarray(variant.convert("RGB")), f"{path.stem}-{i}"))
    assert sorted(g.count for g in groups.largest()) == [5] * len(PHOTOS)
    assert all(len({e.rpartition("-")[0] for e in g.examples}) == 1 for g in groups.largest())


def crops() -> list[np.ndarray]:
    """Different pieces of photographs, 224 a side."""
    out = []
    for path in PHOTOS:
        image = np.asarray(PILImage.open(path).convert("RGB"))
        for top in range(0, image.shape[0] - 223, 97):
            out += [image[top : top + 224, left : left + 224] for left in range(0, image.shape[1] - 223, 113)]
    return out


def test_a_shared_perturbation_is_named_and_clean_photos_are_not() -> None:
    pieces = crops()
    pattern = np.random.default_rng(0).choice(np.array([-8, 8]), (224, 224, 3))
    clean, some = campaign.Residuals(), campaign.Residuals()
    carriers = set()
    for i, piece in enumerate(pieces):
        clean.add(_core.hash.fingerprint(np.ascontiguousarray(piece))[2].hex(), str(i))
        laid = piece if i % 5 else np.clip(piece.astype(int) + pattern, 0, 255).astype(np.uint8)
        carriers |= {str(i)} if i % 5 == 0 else set()
        some.add(_core.hash.fingerprint(np.ascontiguousarray(laid))[2].hex(), str(i))
    assert clean.hint() is None
    hint = some.hint()
    assert hint is not None
    assert set(hint.examples) <= carriers
    assert hint.carriers >= 0.8 * len(carriers)
