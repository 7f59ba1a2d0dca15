"""Pieces of sound as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from service.domain.arrays import Float32Array, Int64Array
from service.domain.time import HOP_SAMPLES

PatchedAudio = tuple[Float32Array, Int64Array]
"""(S,) samples, a whole number of hops, and (T,) where patches start in them, in hops."""


def concatenate_audio(audios: Sequence[PatchedAudio]) -> PatchedAudio:
    """One waveform after the other, and where the patches start in the whole."""
    lengths = [len(waveform) // HOP_SAMPLES for waveform, _ in audios]
    offsets = np.cumsum([0, *lengths[:-1]])
    starts = [each + offset for (_, each), offset in zip(audios, offsets, strict=True)]
    return np.concatenate([waveform for waveform, _ in audios]), np.concatenate(starts)
