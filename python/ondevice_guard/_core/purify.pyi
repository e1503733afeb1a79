import numpy as np
import numpy.typing as npt

_Image = npt.NDArray[np.uint8]

def median(image: _Image, size: int = 3, *, out: _Image | None = None, threads: int = 0) -> _Image: ...
