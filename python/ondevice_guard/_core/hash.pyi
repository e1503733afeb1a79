import numpy as np
import numpy.typing as npt

def fingerprint(image: npt.NDArray[np.uint8], *, threads: int = 0) -> tuple[int, int, bytes]: ...
