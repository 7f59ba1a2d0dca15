"""Probe of a served model: a fixed input, and a summary of the outputs that it has to give.

A model file that was exchanged before Triton read it, and exchanged back since, is known by its
answers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from service.domain.array_types import Float32Array
from service.domain.model_signatures import LIVE_WINDOW_FRAMES, LOG_MEL, ModelSignature

PROBE_SUMS: Final = 16
"""Sums in the summary of an output: sum k is of the values k, k + 16, k + 32 ..."""
CPU_TOLERANCE: Final = 1e-3
"""Relative deviation between CPUs: with and without oneDNN 1e-6 was seen."""
GPU_TOLERANCE: Final = 2e-2
"""Relative deviation of a GPU: 6e-3 with the factors of all products rounded to TF32."""
_VARIABLE_LENGTH: Final = LIVE_WINDOW_FRAMES
_PROBE_SAMPLES: Final = 16_000
"""Samples at 16 kHz: one patch of 0.975 s, and some."""
_NUMPY_TYPES: Final = {
    "UINT8": np.uint8,
    "FP32": np.float32,
    "INT64": np.int64,
    "BOOL": np.bool_,
}

Summary = tuple[tuple[float, ...], ...]
"""For each output of a model its sums."""


@cache
def build_probe_inputs(slot: ModelSignature) -> Sequence[npt.NDArray[Any]]:
    """Build the probe of a slot: exact patterns, a batch of one or 32 frames."""
    if slot is LOG_MEL:
        return [_pattern((_PROBE_SAMPLES,), np.float32, 0), np.zeros(1, np.int64)]
    length = 1 if slot.max_batch_size else _VARIABLE_LENGTH
    return [
        _pattern(
            tuple(length if size == -1 else size for size in tensor.shape),
            _NUMPY_TYPES[tensor.data_type],
            number,
        )
        for number, tensor in enumerate(slot.inputs)
    ]


def summarize_outputs(outputs: Sequence[Float32Array]) -> Summary:
    """Summarise a model's answer to its probe, to 7 digits."""
    return tuple(
        tuple(
            float(f"{output.ravel()[start::PROBE_SUMS].sum(dtype=np.float64):.6e}")
            for start in range(PROBE_SUMS)
        )
        for output in outputs
    )


def measure_deviation(expected: Summary, found: Summary) -> float:
    """Largest deviation of a sum, relative to the size of the output's expected sums.

    Infinite where one has values that are no numbers, or the outputs are others.
    """
    if [*map(len, expected)] != [*map(len, found)]:
        return float("inf")
    deviations = [
        _measure_output(np.asarray(sums), np.asarray(found_sums))
        for sums, found_sums in zip(expected, found, strict=True)
    ]
    return max(deviations, default=0.0)


def _measure_output(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> float:
    if not np.isfinite([expected, found]).all():
        return float("inf")
    scale = max(float(np.sqrt(np.mean(expected**2))), 1e-6)
    return float(np.abs(found - expected).max()) / scale


def _pattern(
    shape: tuple[int, ...], data_type: type[np.generic], number: int
) -> npt.NDArray[np.generic]:
    """Fill a shape with bytes of a saw-tooth along every axis; floats in [-1, 1)."""
    steps = (7, 13, 31, 61)
    levels = (
        sum(step * index for step, index in zip(steps, np.indices(shape), strict=False))
        + 17 * number
    )
    levels = np.asarray(levels) % 256
    if data_type is np.float32:
        return (levels / 128 - 1).astype(np.float32)
    if data_type is np.bool_:
        return levels > 0
    return levels.astype(data_type)
