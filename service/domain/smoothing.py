"""Smoothing of a timeline over seconds, not over frames, so that any frame rate is treated alike.

Source: predictions are smoothed [S]; the Gaussian over seconds is ours [I].
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from service.domain.array_types import BoolArray, Float64Array

KERNEL_RADIUS_SIGMAS: Final = 3.0
"""Kernel radius: beyond three sigmas a neighbour's weight is below .012 of the frame's own."""
MAX_FRAME_RATE_HZ: Final = 1000.0
"""Frame rate up to which every neighbour within the radius counts. Where times are denser, repeat
or step back, only the nearest in order do: the work for a frame stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Time and values of one frame; None where there is no estimate."""

    time_seconds: float
    values: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmootherSnapshot:
    """State of a Smoother: its samples, of which the first `past_count` are smoothed already.

    times_seconds: (T,); values: (T, 2); is_known: (T,), False where there is no estimate.
    """

    past_count: int
    times_seconds: Float64Array
    values: Float64Array
    is_known: BoolArray


class Smoother:
    """Gaussian mean over the neighbours within three sigmas, delayed by as much.

    Frames without an estimate are skipped. With sigma 0 every sample is returned as it is.
    """

    __slots__ = ("_max_neighbours", "_past", "_radius_seconds", "_sigma_seconds", "_waiting")

    def __init__(self, *, sigma_seconds: float) -> None:
        self._sigma_seconds = sigma_seconds
        self._radius_seconds = KERNEL_RADIUS_SIGMAS * sigma_seconds
        self._max_neighbours = math.ceil(self._radius_seconds * MAX_FRAME_RATE_HZ)
        self._past: deque[Sample] = deque(maxlen=self._max_neighbours)
        self._waiting: deque[Sample] = deque()

    def add(self, sample: Sample) -> Iterator[Sample]:
        """Add the next frame; yields, in order, the frames that no later one can change."""
        self._waiting.append(sample)
        while self._waiting and self._has_all_neighbours(sample):
            yield self._smooth_next()

    def close(self) -> Iterator[Sample]:
        """Yield the remaining frames, smoothed with the neighbours they have."""
        while self._waiting:
            yield self._smooth_next()

    def snapshot(self) -> SmootherSnapshot:
        """Return the state, to be restored by `from_snapshot`."""
        samples = (*self._past, *self._waiting)
        values = [sample.values or (0.0, 0.0) for sample in samples]
        return SmootherSnapshot(
            past_count=len(self._past),
            times_seconds=np.array([sample.time_seconds for sample in samples], np.float64),
            values=np.array(values, np.float64).reshape(-1, 2),
            is_known=np.array([sample.values is not None for sample in samples], np.bool_),
        )

    @classmethod
    def from_snapshot(cls, snapshot: SmootherSnapshot, *, sigma_seconds: float) -> Smoother:
        """Restore a smoother."""
        smoother = cls(sigma_seconds=sigma_seconds)
        samples = [
            Sample(time_seconds=seconds, values=(first, second) if is_known else None)
            for seconds, (first, second), is_known in zip(
                snapshot.times_seconds.tolist(),
                snapshot.values.tolist(),
                snapshot.is_known.tolist(),
                strict=True,
            )
        ]
        smoother._past.extend(samples[: snapshot.past_count])
        smoother._waiting.extend(samples[snapshot.past_count :])
        return smoother

    def _has_all_neighbours(self, latest: Sample) -> bool:
        """Return whether no later frame can change the oldest unsmoothed one."""
        reached = self._waiting[0].time_seconds + self._radius_seconds
        return reached < latest.time_seconds or len(self._waiting) > self._max_neighbours

    def _smooth_next(self) -> Sample:
        sample = self._waiting[0]
        smoothed = self._smooth(sample)
        self._past.append(self._waiting.popleft())
        oldest = (self._waiting[0] if self._waiting else sample).time_seconds - self._radius_seconds
        while self._past and self._past[0].time_seconds < oldest:
            self._past.popleft()
        return smoothed

    def _smooth(self, sample: Sample) -> Sample:
        if sample.values is None or self._sigma_seconds == 0:
            return sample
        total = first = second = 0.0
        for neighbour in (*self._past, *self._waiting):
            distance = (neighbour.time_seconds - sample.time_seconds) / self._sigma_seconds
            if neighbour.values is None or abs(distance) > KERNEL_RADIUS_SIGMAS:
                continue
            weight = math.exp(-0.5 * distance * distance)
            total += weight
            first += weight * neighbour.values[0]
            second += weight * neighbour.values[1]
        return Sample(time_seconds=sample.time_seconds, values=(first / total, second / total))
