"""Admission of new streams, by their number and by the latency of those under way."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import numpy as np

from service.domain.estimator import EstimatorId
from service.errors import QuotaExceeded, TooManyStreams
from service.settings import Settings
from service.streaming.events import LatencySummary, StreamResult
from service.telemetry.metric_labels import STREAM_QUANTILES
from service.telemetry.metrics import Metrics

LATENCY_WINDOW_SECONDS: Final = 5.0
"""Time for which a result counts as recent."""
MIN_RESULTS: Final = 50
"""Minimum number of recent results from which their latency is computed."""
ADMISSION_RETRY_SECONDS: Final = 5.0
"""Advised delay before a refused stream is tried again."""
MAX_LATENCY_SAMPLES: Final = 4096
"""Latest results of a stream from which its quantiles are computed."""


class AdmissionControl:
    """Admission by the number of this gateway's streams and the lateness of their results.

    A client is an API key, or an address where none is required. While one has several streams,
    there is room for others that have none: beyond `max_streams`, and whatever the lateness.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._max_streams = settings.count_streams()
        self._max_per_client = settings.max_streams_per_client or self._max_streams
        self._reserved = settings.count_reserved_streams()
        self._budget_seconds = settings.stream_admission_latency_seconds
        self._metrics = metrics
        self._streams: Counter[str] = Counter()
        self._streams_by_model: Counter[str] = Counter()
        self._recent_lateness: deque[tuple[float, float]] = deque()

    @contextmanager
    def admit(self, client_id: str, model: EstimatorId) -> Generator[None]:
        """Count one stream of a client while the context lasts.

        Args: model: that annotates it, for the metrics.
        Raises: TooManyStreams: the limit is reached, or present streams are served too late.
            QuotaExceeded: the client has as many streams as it may have.
        """
        self._check_count(client_id)
        self._check_lateness(client_id)
        self._adjust_stream_count(client_id, str(model), +1)
        try:
            yield
        finally:
            self._adjust_stream_count(client_id, str(model), -1)
            self._recent_lateness.clear()  # this stream may have caused it

    def _check_count(self, client_id: str) -> None:
        count, own = self._streams.total(), self._streams[client_id]
        room = self._max_streams + (self._reserved if self._is_preferred(client_id) else 0)
        if count >= room:
            raise TooManyStreams(
                f"{count} streams are under way", retry_seconds=ADMISSION_RETRY_SECONDS
            )
        if own >= self._max_per_client:
            raise QuotaExceeded(
                f"{own} streams of this key or address are under way",
                retry_seconds=ADMISSION_RETRY_SECONDS,
            )

    def _check_lateness(self, client_id: str) -> None:
        count = self._streams.total()
        if not count or self._is_preferred(client_id):
            return
        if (late := self._p95_lateness_seconds()) > self._budget_seconds:
            raise TooManyStreams(
                f"results of the {count} streams under way are {late:.2f} s late",
                retry_seconds=ADMISSION_RETRY_SECONDS,
            )

    def _is_preferred(self, client_id: str) -> bool:
        """Return whether the client has no stream while another one has several."""
        return not self._streams[client_id] and max(self._streams.values(), default=0) > 1

    def observe_lateness(self, seconds: float) -> None:
        """Record how late a provisional result was sent."""
        self._recent_lateness.append((time.monotonic(), seconds))
        self._drop_expired()

    def _adjust_stream_count(self, client_id: str, model: str, change: int) -> None:
        self._streams[client_id] += change
        self._streams += Counter()  # drops clients without streams
        self._streams_by_model[model] += change
        self._metrics.use_model(model)
        self._metrics.streams.labels(model).set(self._streams_by_model[model])
        self._streams_by_model += Counter()

    def _p95_lateness_seconds(self) -> float:
        """Return the 95th percentile of recent lateness; 0 for fewer than MIN_RESULTS results."""
        self._drop_expired()
        if len(self._recent_lateness) < MIN_RESULTS:
            return 0.0
        return float(np.percentile([seconds for _, seconds in self._recent_lateness], 95))

    def _drop_expired(self) -> None:
        since = time.monotonic() - LATENCY_WINDOW_SECONDS
        while self._recent_lateness and self._recent_lateness[0][0] < since:
            self._recent_lateness.popleft()


class LatencyTracker:
    """Latencies of one stream, from a frame's last byte received to its result sent."""

    def __init__(self, metrics: Metrics, model: EstimatorId) -> None:
        self._metrics = metrics
        self._model = str(model)
        self._provisional: deque[float] = deque(maxlen=MAX_LATENCY_SAMPLES)
        self._media_start_at: float | None = None

    def observe(self, result: StreamResult, arrived_at: float) -> float | None:
        """Record a result that was sent just now.

        Args: arrived_at: monotonic seconds.
        Returns: lateness of a provisional result, seconds: beyond the arrival of its frame, or,
            where the client sends faster than real time, beyond the frame's own time. None for a
            final result.
        """
        now = time.monotonic()
        seconds = now - arrived_at
        kind = "final" if result.is_final else "provisional"
        self._metrics.stream_frame_latency_seconds.labels(kind, self._model).observe(seconds)
        if result.is_final:
            return None
        self._provisional.append(seconds)
        if self._media_start_at is None:
            self._media_start_at = arrived_at - result.time_seconds
        return max(0.0, now - max(arrived_at, self._media_start_at + result.time_seconds))

    def summarize(self) -> LatencySummary | None:
        """Return the percentiles of the provisional results; None where there were none."""
        if not self._provisional:
            return None
        p50, p95, p99 = self._compute_quantiles()
        return LatencySummary(p50_seconds=p50, p95_seconds=p95, p99_seconds=p99)

    def publish(self) -> None:
        """Add this stream's quantiles to the metrics."""
        if self._provisional:
            for quantile, seconds in zip(STREAM_QUANTILES, self._compute_quantiles(), strict=True):
                self._metrics.stream_latency_quantile_seconds.labels(quantile).observe(seconds)

    def _compute_quantiles(self) -> list[float]:
        ranks = [100 * float(quantile) for quantile in STREAM_QUANTILES]
        return [float(each) for each in np.percentile(list(self._provisional), ranks)]
