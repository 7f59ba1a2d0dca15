"""Smoothing of many columns at once, equal to `service.domain.smoothing.Smoother`."""

from __future__ import annotations

from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float64Array
from service.domain.smoothing import KERNEL_RADIUS_SIGMAS
from training.data.video import Seconds

SIGMAS_SECONDS: Final = (0.0, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Standard deviations that are tried."""


def smooth_columns(
    times: Seconds, values: Float64Array, known: BoolArray, sigma_seconds: float
) -> Float64Array:
    """Smooth (T, C) columns over seconds; frames that are not known are skipped and left at zero.

    Times rise: where they step back or lie denser than 1 kHz, the service's result may differ.
    """
    weight = known.astype(np.float64)
    total = values * weight[:, None]
    if sigma_seconds == 0:
        return total
    weighted = total.copy()
    for offset in range(1, len(times)):
        distance = (times[offset:] - times[:-offset]) / sigma_seconds
        is_near = np.abs(distance) <= KERNEL_RADIUS_SIGMAS
        if not is_near.any():
            break
        kernel = np.where(is_near, np.exp(-0.5 * distance**2), 0.0)
        earlier, later = kernel * known[:-offset], kernel * known[offset:]
        total[offset:] += earlier[:, None] * weighted[:-offset]
        total[:-offset] += later[:, None] * weighted[offset:]
        weight[offset:] += earlier
        weight[:-offset] += later
    smoothed = np.divide(total, weight[:, None], out=np.zeros_like(total), where=known[:, None])
    return np.asarray(smoothed, np.float64)
