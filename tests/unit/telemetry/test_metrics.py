"""Catalogue of metrics: names, initial series, buckets and registries."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.errors import ClipError
from service.telemetry.metric_labels import JOB_BUCKETS, MAX_MODELS, REQUEST_BUCKETS, STAGES
from service.telemetry.metrics import Metrics


def make_metrics(*models: str) -> Metrics:
    metrics = Metrics(CollectorRegistry())
    for model in models:
        metrics.use_model(model)
    return metrics


def read_samples(metrics: Metrics) -> dict[str, list[tuple[dict[str, str], float]]]:
    text = generate_latest(metrics.registry).decode()
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def test_every_metric_is_registered_with_prefix_and_unit() -> None:
    assert {
        "circumplex_http_request_duration_seconds_count",
        "circumplex_job_queue_wait_seconds_count",
        "circumplex_job_duration_seconds_count",
        "circumplex_stage_duration_seconds_count",
        "circumplex_queue_depth",
        "circumplex_queue_oldest_age_seconds",
        "circumplex_workers_lost_total",
        "circumplex_http_connections",
        "circumplex_http_connections_ended_total",
        "circumplex_websockets_closed_total",
        "circumplex_grpc_request_duration_seconds_count",
        "circumplex_streams",
        "circumplex_stream_frame_latency_seconds_count",
        "circumplex_stream_latency_quantile_seconds_count",
        "circumplex_stream_dropped_frames_total",
        "circumplex_frames_total",
        "circumplex_decode_rejected_total",
        "circumplex_triton_request_duration_seconds_count",
        "circumplex_shared_memory_full_total",
        "circumplex_realtime_factor_count",
    } == {
        name
        for name in read_samples(make_metrics("mini@1"))
        if not name.endswith(("_bucket", "_sum", "_created"))
    }


def test_every_series_exists_before_anything_happens() -> None:
    found = read_samples(make_metrics("mini@1"))

    stages = [labels["stage"] for labels, _ in found["circumplex_stage_duration_seconds_count"]]
    assert stages == list(STAGES)
    reasons = {labels["reason"] for labels, _ in found["circumplex_decode_rejected_total"]}
    assert reasons == {error.code for error in ClipError.__subclasses__()}
    models = found["circumplex_triton_request_duration_seconds_count"]
    assert {"model": "mini@1", "slot": "fusion"} in [labels for labels, _ in models]
    outcomes = [labels for labels, _ in found["circumplex_job_duration_seconds_count"]]
    assert {"model": "mini@1", "outcome": "succeeded"} in outcomes


def test_series_of_models_are_bounded_and_those_unused_for_longest_end() -> None:
    metrics = make_metrics(*(f"mini@{version}" for version in range(1, 1 + MAX_MODELS)))
    count = len(generate_latest(metrics.registry))
    metrics.use_model("mini@1")
    metrics.use_model("expression@1")
    samples = [each for found in read_samples(metrics).values() for each in found]
    models = {labels["model"] for labels, _ in samples if "model" in labels}
    assert models == {
        *(f"mini@{version}" for version in range(1, 1 + MAX_MODELS) if version != 2),
        "expression@1",
    }
    assert len(generate_latest(metrics.registry)) < 1.02 * count


def test_buckets_span_request_and_job_durations() -> None:
    assert (REQUEST_BUCKETS[0], REQUEST_BUCKETS[-1]) == (0.005, 10.0)
    assert (JOB_BUCKETS[0], JOB_BUCKETS[-1]) == (0.5, 3600.0)


def test_queue_depth_is_nan_until_first_measured() -> None:
    metrics = Metrics(CollectorRegistry())

    ((_, before),) = read_samples(metrics)["circumplex_queue_depth"]
    metrics.set_backlog(depth=3, oldest_age_seconds=1.5)
    ((_, after),) = read_samples(metrics)["circumplex_queue_depth"]

    assert math.isnan(before)
    assert after == 3


def test_two_processes_in_one_interpreter_do_not_share_series() -> None:
    first, second = make_metrics("mini@1"), make_metrics("mini@1")
    first.frames_total.labels(face="found", model="mini@1").inc(5)

    assert ({"face": "found", "model": "mini@1"}, 0.0) in read_samples(second)[
        "circumplex_frames_total"
    ]
