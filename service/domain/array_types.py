"""Numpy array types by element type; comments give shapes: T frames, N crops, S samples."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
UInt8Array = npt.NDArray[np.uint8]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
