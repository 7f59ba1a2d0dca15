"""Smooths a timeline in time, not in frames, so that variable frame rates are treated alike.

Source: predictions are smoothed [S]; the Gaussian over seconds is ours [I].
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KERNEL_RADIUS_SIGMAS: Final = 3.0
"""Beyond three sigmas a neighbour weighs less than .012 of the frame itself."""
MAX_FRAME_RATE_HZ: Final = 1000.0
"""Up to so many frames a second every neighbour within reach counts. Where times are denser, stand
still or jump back, the nearest in order do: the work on a frame stays bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One frame's time and values; values None where there is no estimate."""

    time_seconds: float
    values: tuple[float, float] | None


class Smoother:
    """A Gaussian mean over the neighbours within three sigmas, answered with that much delay.

    Frames without an estimate neither give nor get a value. Sigma 0 returns every sample as it is.
    """

    __slots__ = ("_max_neighbours", "_past", "_radius_seconds", "_sigma_seconds", "_waiting")

    def __init__(self, *, sigma_seconds: float) -> None:
        self._sigma_seconds = sigma_seconds
        self._radius_seconds = KERNEL_RADIUS_SIGMAS * sigma_seconds
        self._max_neighbours = math.ceil(self._radius_seconds * MAX_FRAME_RATE_HZ)
        self._past: deque[Sample] = deque(maxlen=self._max_neighbours)
        self._waiting: deque[Sample] = deque()

    def add(self, sample: Sample) -> Iterator[Sample]:
        """Takes the next frame; yields, in order, the smoothed frames that are now settled."""
        self._waiting.append(sample)
        while self._waiting and self._has_all_neighbours(sample):
            yield self._smooth_next()

    def close(self) -> Iterator[Sample]:
        """The frames still waiting for neighbours that will not come."""
        while self._waiting:
            yield self._smooth_next()

    def _has_all_neighbours(self, latest: Sample) -> bool:
        """Whether the frame that waits longest has all the neighbours it gets."""
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
