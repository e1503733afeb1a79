from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Image = npt.NDArray[np.uint8]
_Quads = Sequence[Sequence[Sequence[float]]]

def median(image: _Image, size: int = 3, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def bit_depth(image: _Image, bits: int, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def reset_low_bits(image: _Image, bits: int, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def dct_quantise(
    image: _Image,
    quality: int = 50,
    *,
    subsample: bool = True,
    shifts: int = 1,
    out: _Image | None = None,
    threads: int = 0,
) -> _Image: ...
def dct_shrink(
    image: _Image, threshold: float, *, shifts: int = 4, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def bilateral(
    image: _Image,
    sigma_color: float = 75.0,
    sigma_space: float = 75.0,
    *,
    radius: int = 4,
    out: _Image | None = None,
    threads: int = 0,
) -> _Image: ...
def guided(
    image: _Image, radius: int = 4, eps: float = 400.0, *, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def fill(
    image: _Image, quads: _Quads, *, method: str = "inpaint", out: _Image | None = None, threads: int = 0
) -> _Image: ...
def resize_pad(
    image: _Image, seed: int, *, smallest: float = 0.9, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def rotate(
    image: _Image, degrees: float = 5.0, *, taps: int = 4, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def tiles(
    height: int, width: int, most: int = 2097152, halo: int = 48
) -> list[tuple[tuple[int, int, int, int], tuple[int, int, int, int]]]: ...
def blocks(image: _Image, level: float, *, threads: int = 0) -> _Image: ...
def subtract(image: _Image, residual: _Image, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
def random_bits(seed: int, counter: int) -> int: ...
def total_variation(
    image: _Image, weight: float = 0.1, iterations: int = 20, *, out: _Image | None = None, threads: int = 0
) -> _Image: ...
def nlm(image: _Image, h: float = 10.0, *, search: int = 10, out: _Image | None = None, threads: int = 0) -> _Image: ...
def wavelet_shrink(
    image: _Image, sigma: float = -1.0, *, shifts: int = 4, out: _Image | None = None, threads: int = 0
) -> _Image: ...
