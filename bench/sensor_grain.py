"""Sensor grain on drawn pictures: without it they decode several times as fast as recorded ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Final

import numpy as np

from service.domain.array_types import UInt8Array

_GRAIN_LEVELS: Final = 3.0
"""Standard deviation, grey levels."""
_GRAIN_PATTERNS: Final = 8


def add_sensor_grain(pictures: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
    """Add grain to (H, W, 3) pictures of one size, the same every time."""
    random = np.random.default_rng(0)
    patterns: Iterator[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] | None = None
    for picture in pictures:
        if patterns is None:
            shape = (_GRAIN_PATTERNS, *picture.shape[:2], 1)
            patterns = cycle(random.normal(0, _GRAIN_LEVELS, shape).astype(np.float32))
        yield np.clip(picture + next(patterns), 0, 255).astype(np.uint8)
