from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Image = npt.NDArray[np.uint8]
_Colour = Sequence[int]

def resize(
    image: _Image,
    height: int,
    width: int,
    kernel: str = "bicubic",
    *,
    antialias: bool = True,
    out: _Image | None = None,
    threads: int = 0,
) -> _Image: ...
def composite(
    image: _Image, alpha: _Image, background: _Colour, *, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def luma(image: _Image, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def local_contrast(image: _Image, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def build(
    image: _Image,
    requests: Sequence[tuple[Any, ...]],
    *,
    alpha: _Image | None = None,
    background: _Colour = (255, 255, 255),
    threads: int = 0,
) -> list[_Image]: ...
