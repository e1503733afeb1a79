"""Many pictures seen together: one picture sent again and again, one perturbation laid over many.

* `Groups` puts pictures together whose perceptual hashes nearly agree (dHash and pHash of `_core.hash`, 64 bits each).
* `Residuals` asks whether different pictures carry the same fine pattern. Each picture leaves a 256-bit sketch of its
  high-frequency residual (`_core.hash.sketch`): bit b is the sign of a pseudo-random ±1 sum over the residual. Bits of
  unrelated pictures are independent coins, so over n pictures the mean over b of (sum of ±1 bits)^2 / n is 1 with a
  standard deviation of sqrt(2/256); a share f of pictures whose residuals correlate by r raises it by about
  n (f * 2/pi * asin(r))^2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

#: Bits of 128 (dHash and pHash together) by which two pictures of one group may differ. Of 650 photographs, all copies
#: as JPEG 90, 60 and 30 and at 2/3 and 1/2 of the size are within 12, and so are 99.5 % cut by 1 % at each side; the
#: nearest two different ones differ by 29 (benchmarks/results/batch.json, `hash`).
NEAR = 12
_BANDS = 13  # two hashes that differ in at most 12 bits agree in at least one of 13 bands
_CUTS = [128 * band // _BANDS for band in range(_BANDS + 1)]
_EXAMPLES = 8


@dataclass
class Group:
    """Pictures that look alike.

    Attributes:
        first: The record that stands for them.
        count: How many there are.
        decisions: Decision → count.
        kinds: Kind that counted → count.
        examples: Some of their paths.
    """

    first: Mapping[str, Any]
    count: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class Groups:
    """Groups of look-alikes, built one record at a time: a picture joins the first group whose first picture it nearly equals.

    Memory is that of the distinct pictures, of which a campaign has few.
    """

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._exact: dict[int, int] = {}
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]
        self._hashes: list[int] = []
        self._unhashed = 0

    def add(self, record: Mapping[str, Any]) -> Group | None:
        """Add a record; returns its group when it is the first of one, else None."""
        code = _code(record)
        index = self._find(code) if code is not None else None
        fresh = index is None
        if index is None:
            index = len(self._groups)
            self._groups.append(Group(record))
            self._hashes.append(code if code is not None else -1)
            if code is not None:
                self._exact[code] = index
                for band, value in enumerate(_split(code)):
                    self._bands[band].setdefault(value, []).append(index)
        group = self._groups[index]
        group.count += 1
        group.decisions[record["decision"]] += 1
        group.kinds.update(record["verdict"]["counted"])
        if len(group.examples) < _EXAMPLES:
            group.examples.append(record["path"])
        return group if fresh else None

    def _find(self, code: int) -> int | None:
        if code in self._exact:
            return self._exact[code]
        near = {i for band, value in enumerate(_split(code)) for i in self._bands[band].get(value, ())}
        best = min(((_distance(code, self._hashes[i]), i) for i in near), default=(NEAR + 1, -1))
        return best[1] if best[0] <= NEAR else None

    def count_like(self, record: Mapping[str, Any]) -> int:
        """Return how many pictures the record's group has."""
        code = _code(record)
        index = self._find(code) if code is not None else None
        return self._groups[index].count if index is not None else 1

    def largest(self) -> list[Group]:
        """Return the groups, largest first."""
        return sorted(self._groups, key=lambda g: -g.count)


def _code(record: Mapping[str, Any]) -> int | None:
    if not record.get("dhash"):
        return None
    return int(record["dhash"] + record["phash"], 16)


def _split(code: int) -> list[int]:
    return [(code >> low) & ((1 << (high - low)) - 1) for low, high in pairwise(_CUTS)]


def _distance(a: int, b: int) -> int:
    return bin(a ^ b).count("1")


@dataclass(frozen=True)
class Hint:
    """A residual that recurs.

    Attributes:
        coherence: 1.0 is expected by chance.
        pictures: How many were compared.
        carriers: How many of them agree with the common pattern.
        examples: Paths of the clearest ones.
    """

    coherence: float
    pictures: int
    carriers: int
    examples: tuple[str, ...]


class Residuals:
    """The sum of all sketches, and of the latest ones the sketches themselves, to name carriers.

    Only distinct sketches count, so that one picture sent a thousand times is not taken for a thousand carriers.
    """

    _KEPT = 20_000
    _LEAST = 20  # pictures below which a recurring pattern is not told from chance

    def __init__(self) -> None:
        self._sum = np.zeros(256, np.int64)
        self._count = 0
        self._seen: set[str] = set()
        self._kept: list[tuple[str, str]] = []

    def add(self, sketch: str, path: str) -> None:
        """Add a picture's sketch (64 hexadecimal digits)."""
        if not sketch or sketch in self._seen or len(self._seen) >= self._KEPT:
            return
        self._seen.add(sketch)
        self._kept.append((sketch, path))
        self._sum += _signs(sketch)
        self._count += 1

    def hint(self) -> Hint | None:
        """Return the hint, or None when the residuals are as unrelated as chance leaves them.

        A hint needs a coherence 6 standard deviations above 1 and at least 3 carriers; a carrier agrees with the common
        pattern in more bits than all but one of a million unrelated pictures would (4.9 standard deviations).
        """
        if self._count < self._LEAST:
            return None
        coherence = float(np.mean(self._sum.astype(np.float64) ** 2) / self._count)
        if coherence < 1 + 6 * np.sqrt(2 / 256):
            return None
        agreeing = []
        for sketch, path in self._kept:
            bits = _signs(sketch)
            common = np.sign(self._sum - bits)  # the pattern of the others: a picture does not vote for itself
            agreement = float(bits @ common) / 16  # in standard deviations of 256 coins
            if agreement > 4.9:
                agreeing.append((agreement, path))
        if len(agreeing) < 3:
            return None
        agreeing.sort(reverse=True)
        return Hint(coherence, self._count, len(agreeing), tuple(path for _, path in agreeing[:_EXAMPLES]))


def _signs(sketch: str) -> npt.NDArray[np.int64]:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(sketch), np.uint8)).astype(np.int64)
    return 2 * bits - 1
