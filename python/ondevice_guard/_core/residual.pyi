from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

TILE: int
RATIOS: int

def tile_sums(image: npt.NDArray[np.uint8], *, every: int = 1, threads: int = 0) -> npt.NDArray[np.int64]: ...
def ratios(sums: npt.NDArray[np.int64], regions: npt.ArrayLike) -> npt.NDArray[np.float64]: ...
def noise_level(image: npt.NDArray[np.uint8], *, threads: int = 0) -> float: ...

class Perceptron:
    def __init__(
        self,
        mean: npt.ArrayLike,
        scale: npt.ArrayLike,
        layers: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]],
        slope: float,
        offset: float,
    ) -> None: ...
    def logits(self, sums: npt.NDArray[np.int64], regions: npt.ArrayLike) -> npt.NDArray[np.float64]: ...
