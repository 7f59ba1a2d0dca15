"""Lets streams in as long as those that are there are served in time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import numpy as np

from service.errors import TooManyStreams
from service.settings import Settings
from service.telemetry.metrics import Metrics

STREAMS_PER_PROCESSOR: Final = 2
LATENCY_WINDOW_SECONDS: Final = 5.0
MIN_RESULTS: Final = 50
"""So many recent results say whether streams are served in time."""
RETRY_SECONDS: Final = 5.0


class AdmissionControl:
    """Counts the streams of this gateway, and watches how late their results are."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._max_streams = settings.max_streams or STREAMS_PER_PROCESSOR * (os.cpu_count() or 1)
        self._budget_seconds = settings.stream_admission_latency_seconds
        self._metrics = metrics
        self._streams = 0
        self._recent_lateness: deque[tuple[float, float]] = deque()

    @contextmanager
    def admit(self) -> Generator[None]:
        """One stream for as long as the context lasts; raises StreamsFull."""
        if self._streams >= self._max_streams:
            raise TooManyStreams(
                f"{self._streams} streams are under way", retry_seconds=RETRY_SECONDS
            )
        if self._streams and (late := self._p95_lateness_seconds()) > self._budget_seconds:
            raise TooManyStreams(
                f"results of the {self._streams} streams under way are {late:.2f} s late",
                retry_seconds=RETRY_SECONDS,
            )
        self._adjust_stream_count(+1)
        try:
            yield
        finally:
            self._adjust_stream_count(-1)
            self._recent_lateness.clear()  # what was late may have been this one's doing

    def observe_lateness(self, seconds: float) -> None:
        """A provisional result was so late."""
        self._recent_lateness.append((time.monotonic(), seconds))
        self._drop_expired()

    def _adjust_stream_count(self, change: int) -> None:
        self._streams += change
        self._metrics.streams.set(self._streams)

    def _p95_lateness_seconds(self) -> float:
        """The 95th percentile of recent results; 0 where there are too few to tell."""
        self._drop_expired()
        if len(self._recent_lateness) < MIN_RESULTS:
            return 0.0
        return float(np.percentile([seconds for _, seconds in self._recent_lateness], 95))

    def _drop_expired(self) -> None:
        since = time.monotonic() - LATENCY_WINDOW_SECONDS
        while self._recent_lateness and self._recent_lateness[0][0] < since:
            self._recent_lateness.popleft()
