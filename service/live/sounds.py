"""Pieces of sound as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.domain.arrays import Floats, Integers
from service.domain.time import HOP_SAMPLES

Sound = tuple[Floats, Integers]
"""(S,) samples, a whole number of hops, and (T,) where patches start in them, in hops."""


def join(sounds: Sequence[Sound]) -> Sound:
    """One waveform after the other, and where the patches start in the whole."""
    lengths = [len(waveform) // HOP_SAMPLES for waveform, _ in sounds]
    offsets = np.cumsum([0, *lengths[:-1]])
    starts = [each + offset for (_, each), offset in zip(sounds, offsets, strict=True)]
    return np.concatenate([waveform for waveform, _ in sounds]), np.concatenate(starts)
