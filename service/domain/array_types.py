"""Array types, by the letters of their shapes: T frames, N crops, D features, S samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
