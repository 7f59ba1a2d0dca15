"""Which sound the patches of frames hear, cut out without the gaps between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array, Int64Array
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES

PATCH_SPAN_HOPS: Final = -(-PATCH_SAMPLES // HOP_SAMPLES)
"""98 hops hold a patch."""

ReadSamples = Callable[[int, int], Float32Array]
"""The samples from one ordinal to another; zeros where there is no sound."""


def cut_patches(hops: Sequence[int], read_samples: ReadSamples) -> tuple[Float32Array, Int64Array]:
    """Cut the sound that the patches at these hops hear.

    Args: hops: (T,) where patches start, in 10 ms hops from time 0; T >= 1.
    Returns: waveform (S,), a whole number of hops and at most T * 98 of them, and (T,)
        int64: where each patch starts in it, in hops.
    """
    places: dict[int, int] = {}
    slices: list[Float32Array] = []
    length = 0
    for span in _group_spans(sorted(set(hops))):
        stop = span[-1] + PATCH_SPAN_HOPS
        slices.append(read_samples(span[0] * HOP_SAMPLES, stop * HOP_SAMPLES))
        places |= {hop: length + hop - span[0] for hop in span}
        length += stop - span[0]
    return np.concatenate(slices), np.array([places[hop] for hop in hops], dtype=np.int64)


def _group_spans(hops: Sequence[int]) -> Iterator[list[int]]:
    """Group ascending hops whose patches touch or overlap."""
    span: list[int] = []
    for hop in hops:
        if span and hop > span[-1] + PATCH_SPAN_HOPS:
            yield span
            span = []
        span.append(hop)
    if span:
        yield span
