"""How long the results of one stream took."""

from __future__ import annotations

import time
from collections import deque
from typing import Final

import numpy as np
from circumplex.v1 import annotation_pb2 as wire

from service.telemetry.metrics import STREAM_QUANTILES, Metrics

MAX_SAMPLES: Final = 4096


class LatencyTracker:
    """From a frame's last byte received to its result sent, of one stream."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._provisional: deque[float] = deque(maxlen=MAX_SAMPLES)
        self._media_start_at: float | None = None

    def observe(self, result: wire.FrameResult, arrived_at: float) -> float | None:
        """A result was sent just now.

        Returns: by how much a provisional one was late, seconds: beyond its arrival, or its own
            time where a sender is ahead of that. Who sends a film at once waits through no
            fault of ours.
        """
        now = time.monotonic()
        seconds = now - arrived_at
        kind = "final" if result.is_final else "provisional"
        self._metrics.stream_frame_latency_seconds.labels(kind=kind).observe(seconds)
        if result.is_final:
            return None
        self._provisional.append(seconds)
        if self._media_start_at is None:
            self._media_start_at = arrived_at - result.time_seconds
        return max(0.0, now - max(arrived_at, self._media_start_at + result.time_seconds))

    def summarize(self) -> wire.LatencySummary | None:
        """Of the provisional results; None where there were none."""
        if not self._provisional:
            return None
        p50, p95, p99 = (float(value) for value in self._compute_quantiles())
        return wire.LatencySummary(p50_seconds=p50, p95_seconds=p95, p99_seconds=p99)

    def publish(self) -> None:
        """Count this stream's own quantiles among those of all streams."""
        if self._provisional:
            for quantile, seconds in zip(STREAM_QUANTILES, self._compute_quantiles(), strict=True):
                self._metrics.stream_latency_quantile_seconds.labels(quantile).observe(seconds)

    def _compute_quantiles(self) -> list[float]:
        ranks = [100 * float(quantile) for quantile in STREAM_QUANTILES]
        return [float(each) for each in np.percentile(list(self._provisional), ranks)]
