"""Numbers as text: the shortest decimal that reads back the same, so that formats agree."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.domain.array_types import BoolArray, Float32Array, Int64Array


def write_floats(values: Float32Array | npt.NDArray[np.float64], unknown: str) -> list[str]:
    """Shortest round-trip decimals of float32 or float64; `unknown` for NaN and infinities."""
    texts: list[str] = values.astype(np.str_).tolist()
    finite: list[bool] = np.isfinite(values).tolist()
    return [text if known else unknown for text, known in zip(texts, finite, strict=True)]


def write_integers(values: Int64Array) -> list[str]:
    """Decimal integers."""
    return [str(value) for value in values.tolist()]


def write_booleans(values: BoolArray) -> list[str]:
    """`true` and `false`."""
    return ["true" if value else "false" for value in values.tolist()]
