"""OpenCV frames: BGR in, BGR out; a capture loop that hands out judged frames only.

for frame in frames(cv2.VideoCapture(0), guard, stride=5):
    if frame.verdict:
        answer = model(frame.bgr)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UnsupportedInput
from ..guard import Guard
from ..types import Pixels
from ..verdict import Verdict


@dataclass(frozen=True)
class Frame:
    """One judged frame.

    Attributes:
        index: Its number in the capture, from 0.
        verdict: What was decided.
        bgr: uint8 HxWx3, safe, in OpenCV's channel order; None when it is blocked.
    """

    index: int
    verdict: Verdict
    bgr: Pixels | None = field(repr=False)


def check(guard: Guard, bgr: Pixels, text: str | None = None) -> Frame:
    """Judge one frame.

    Args:
        guard: Judges it.
        bgr: uint8 HxWx3 as OpenCV has it.
        text: The prompt that goes with it.

    Raises:
        UnsupportedInput: the array is no BGR picture.
    """
    if not isinstance(bgr, np.ndarray) or bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
        raise UnsupportedInput("frame must be a uint8 array of shape HxWx3 in BGR order")
    verdict = guard.check(np.ascontiguousarray(bgr[..., ::-1]), text)
    return Frame(0, verdict, np.ascontiguousarray(verdict.to_numpy()[..., ::-1]) if verdict else None)


def frames(capture: Any, guard: Guard, stride: int = 1, text: str | None = None) -> Iterator[Frame]:
    """Yield every `stride`-th frame of a capture, judged; the frames between are skipped, never shown unjudged.

    Args:
        capture: A `cv2.VideoCapture`, or anything with `grab()` and `retrieve()`.
        guard: Judges the frames.
        stride: 1 judges each frame; 5 every fifth.
        text: The prompt that goes with them.
    """
    if stride < 1:
        raise UnsupportedInput(f"stride must be at least 1, got {stride!r}")
    index = 0
    while capture.grab():  # cheap: frames that are skipped are not decoded
        if index % stride == 0:
            ok, bgr = capture.retrieve()
            if not ok:
                return
            judged = check(guard, bgr, text)
            yield Frame(index, judged.verdict, judged.bgr)
        index += 1
