"""Catalogue of the Prometheus metrics: every metric with its unit and its closed set of labels.

All series exist from the start, those of a model from its first use in the process, so that rates
of events that have not occurred yet are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from math import nan

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.domain.model_signatures import SERVED_MODELS
from service.errors import ClipError
from service.telemetry.metric_labels import (
    CONNECTION_END_REASONS,
    DROP_REASONS,
    FACE_STATES,
    GRPC_METHODS,
    INITIAL_ROUTES,
    JOB_BUCKETS,
    JOB_OUTCOMES,
    MAX_MODELS,
    REQUEST_BUCKETS,
    RESULT_KINDS,
    SPEED_BUCKETS,
    STAGES,
    STREAM_BUCKETS,
    STREAM_QUANTILES,
)


class Metrics:
    """Metrics of a process, registered in the given registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._models: dict[str, None] = {}
        """NAME@VERSION of the models with series, the latest used last."""
        self._add_requests(registry)
        self._add_stages(registry)
        self._add_models(registry)
        self._add_jobs(registry)
        self._add_streams(registry)
        self._add_clips(registry)
        self._create_series()

    def _add_requests(self, registry: CollectorRegistry) -> None:
        self.http_request_duration_seconds = Histogram(
            "circumplex_http_request_duration_seconds",
            "Time from the head of a request to the last byte of its response.",
            ("method", "route", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.grpc_request_duration_seconds = Histogram(
            "circumplex_grpc_request_duration_seconds",
            "Time from the metadata of a gRPC call to its status code.",
            ("method", "status"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.connections = Gauge(
            "circumplex_http_connections", "Open HTTP connections.", registry=registry
        )
        self.connections_ended_total = Counter(
            "circumplex_http_connections_ended_total",
            "HTTP connections ended by the gateway, by reason.",
            ("reason",),
            registry=registry,
        )
        self.websockets_closed_total = Counter(
            "circumplex_websockets_closed_total",
            "Closed WebSockets, by close code or by HTTP status of a refused handshake.",
            ("code",),
            registry=registry,
        )

    def _add_stages(self, registry: CollectorRegistry) -> None:
        self.stage_duration_seconds = Histogram(
            "circumplex_stage_duration_seconds",
            "Busy time of one pass through a stage of the analysis.",
            ("stage",),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.triton_request_duration_seconds = Histogram(
            "circumplex_triton_request_duration_seconds",
            "Duration of one inference request to Triton, as seen by the client.",
            ("model", "slot"),
            buckets=REQUEST_BUCKETS,
            registry=registry,
        )
        self.shared_memory_full_total = Counter(
            "circumplex_shared_memory_full_total",
            "Times when shared memory for crops was full, so that they were sent over gRPC.",
            registry=registry,
        )

    def _add_models(self, registry: CollectorRegistry) -> None:
        self.model_info = Gauge(
            "circumplex_model_info",
            "1 for each served model's current version, with what it has learnt from.",
            ("model", "domain", "default"),
            registry=registry,
        )
        self.model_ready = Gauge(
            "circumplex_model_ready",
            "1 if a served model's current version is loaded, warm and what its manifest names.",
            ("model",),
            registry=registry,
        )
        self.model_changed_total = Counter(
            "circumplex_model_changed_total",
            "Times that a served model was found to be another than its manifest names.",
            ("model",),
            registry=registry,
        )
        self._model_ready: dict[str, bool] = {}
        self._model_info: set[tuple[str, str, str]] = set()

    def _add_jobs(self, registry: CollectorRegistry) -> None:
        self.job_queue_wait_seconds = Histogram(
            "circumplex_job_queue_wait_seconds",
            "Time from the submission of a job to the start of its first attempt.",
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self.job_duration_seconds = Histogram(
            "circumplex_job_duration_seconds",
            "Duration of one attempt at a job, by outcome.",
            ("outcome", "model"),
            buckets=JOB_BUCKETS,
            registry=registry,
        )
        self.workers_lost_total = Counter(
            "circumplex_workers_lost_total",
            "Attempts whose worker was lost, so that their lease expired.",
            registry=registry,
        )
        self.queue_depth = Gauge(
            "circumplex_queue_depth", "Jobs waiting in the queue.", registry=registry
        )
        self.queue_oldest_age_seconds = Gauge(
            "circumplex_queue_oldest_age_seconds",
            "Age of the oldest job waiting in the queue.",
            registry=registry,
        )
        self.clear_backlog()

    def _add_streams(self, registry: CollectorRegistry) -> None:
        self.streams = Gauge("circumplex_streams", "Open streams.", ("model",), registry=registry)
        self.stream_frame_latency_seconds = Histogram(
            "circumplex_stream_frame_latency_seconds",
            "Time from receiving the last byte of a frame to sending its result.",
            ("kind", "model"),
            buckets=STREAM_BUCKETS,
            registry=registry,
        )
        self.stream_latency_quantile_seconds = Histogram(
            "circumplex_stream_latency_quantile_seconds",
            "Quantiles of a stream's provisional result latency, observed at its end.",
            ("quantile",),
            buckets=STREAM_BUCKETS,
            registry=registry,
        )
        self.stream_dropped_frames_total = Counter(
            "circumplex_stream_dropped_frames_total",
            "Frames of streams without a result, by reason.",
            ("reason",),
            registry=registry,
        )

    def _add_clips(self, registry: CollectorRegistry) -> None:
        self.frames_total = Counter(
            "circumplex_frames_total",
            "Analysed frames of clips.",
            ("face", "model"),
            registry=registry,
        )
        self.decode_rejected_total = Counter(
            "circumplex_decode_rejected_total",
            "Clips that could not be analysed, by error code.",
            ("reason",),
            registry=registry,
        )
        self.realtime_factor = Histogram(
            "circumplex_realtime_factor",
            "Seconds of clip analysed per second.",
            ("model",),
            buckets=SPEED_BUCKETS,
            registry=registry,
        )

    def use_model(self, model: str) -> None:
        """Create the series of a model, NAME@VERSION, unless it has them.

        At most MAX_MODELS versions have series: those of the one unused for longest are removed.
        """
        self._models.pop(model, None)
        self._models[model] = None
        while len(self._models) > MAX_MODELS:
            self._remove_model(next(iter(self._models)))
        self.streams.labels(model)
        self.realtime_factor.labels(model)
        for kind in RESULT_KINDS:
            self.stream_frame_latency_seconds.labels(kind, model)
        for slot in SERVED_MODELS:
            self.triton_request_duration_seconds.labels(model, slot.name)
        for outcome in JOB_OUTCOMES:
            self.job_duration_seconds.labels(outcome, model)
        for face in FACE_STATES:
            self.frames_total.labels(face, model)

    def _remove_model(self, model: str) -> None:
        del self._models[model]
        for metric in (
            *(self.streams, self.realtime_factor, self.stream_frame_latency_seconds),
            *(self.job_duration_seconds, self.frames_total, self.triton_request_duration_seconds),
            self.model_changed_total,
        ):
            metric.remove_by_labels({"model": model})

    def set_models(
        self, *, ready: Mapping[str, bool], info: AbstractSet[tuple[str, str, str]]
    ) -> None:
        """Set the gauges of the served models; those of versions that are current no longer end.

        Args: ready: by NAME@VERSION. info: NAME@VERSION, domain, and `true` for the default one.
        """
        for model in self._model_ready.keys() - ready.keys():
            self.model_ready.remove(model)
        for labels in self._model_info - info:
            self.model_info.remove(*labels)
        for model, is_ready in ready.items():
            self.model_ready.labels(model).set(is_ready)
            self.model_changed_total.labels(model)
        for labels in info:
            self.use_model(labels[0])
            self.model_info.labels(*labels).set(1)
        self._model_ready, self._model_info = dict(ready), set(info)

    def set_backlog(self, *, depth: int, oldest_age_seconds: float) -> None:
        """Set both queue gauges."""
        self.queue_depth.set(depth)
        self.queue_oldest_age_seconds.set(oldest_age_seconds)

    def clear_backlog(self) -> None:
        """Set both queue gauges to NaN: the queue cannot be measured."""
        self.queue_depth.set(nan)
        self.queue_oldest_age_seconds.set(nan)

    def _create_series(self) -> None:
        for method, route, status in INITIAL_ROUTES:
            self.http_request_duration_seconds.labels(method, route, status)
        for method in GRPC_METHODS:
            self.grpc_request_duration_seconds.labels(method, "OK")
        for reason in CONNECTION_END_REASONS:
            self.connections_ended_total.labels(reason)
        for code in ("1000", "1006", "1012", "1013"):
            self.websockets_closed_total.labels(code)
        for stage in STAGES:
            self.stage_duration_seconds.labels(stage)
        for quantile in STREAM_QUANTILES:
            self.stream_latency_quantile_seconds.labels(quantile)
        for reason in DROP_REASONS:
            self.stream_dropped_frames_total.labels(reason)
        for reason in _error_codes(ClipError.__subclasses__()):
            self.decode_rejected_total.labels(reason)


def _error_codes(errors: Iterable[type[ClipError]]) -> list[str]:
    return [error.code for error in errors]
