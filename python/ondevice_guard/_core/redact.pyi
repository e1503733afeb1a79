from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_Image = npt.NDArray[np.uint8]

def fill(
    image: _Image, regions: Sequence[Sequence[tuple[float, float]]], method: str = "inpaint", *, out: _Image | None = None
) -> _Image: ...
def reset_low_bits(image: _Image, bits: int = 1, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
