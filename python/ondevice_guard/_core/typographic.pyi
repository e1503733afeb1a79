import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

def patches(image: Pixels, *, threads: int = 0) -> Pixels: ...
def tiling(
    height: int, width: int, most: int
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int, int]]]: ...
def find_lines(
    map: Pixels, *, scale: float, zero: int, threshold: float = 0.0, min_cells: int = 3, limit: int = 1024
) -> tuple[Floats, Floats]: ...
def rectify(
    image: Pixels, quads: Floats, *, height: int = 32, max_width: int = 1024, threads: int = 0
) -> list[Pixels]: ...
def find_qr(image: Pixels) -> tuple[Floats, Floats]: ...
