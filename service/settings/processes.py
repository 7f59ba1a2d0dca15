"""How the processes work."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.settings.base import Port, SettingsGroup


class JobLifecycle(SettingsGroup):
    """The life of a job."""

    queue_name: str = Field(default="circumplex", description="Prefix of every key in Redis.")
    worker_concurrency: int = Field(
        default=2, ge=1, le=64, description="Clips one worker works on at once."
    )
    lease_seconds: float = Field(
        default=10.0,
        ge=1,
        description="A job whose worker has been silent so long goes to another.",
    )
    max_attempts: int = Field(
        default=5, ge=1, le=20, description="Workers a clip may take down before it is given up."
    )
    max_deferrals: int = Field(
        default=1500,
        ge=1,
        description="Times a job is put off, 64 s at most, while a part is away: a day or so.",
    )
    max_queued_jobs: int = Field(
        default=10_000, ge=1, description="Jobs that may wait; more are refused with 429."
    )
    clip_ttl_seconds: float = Field(
        default=24 * 3600.0,
        ge=0,
        description="A finished job's clip is kept so long: it can be tried again.",
    )
    job_ttl_seconds: float = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="A finished job and its results are kept so long, then deleted.",
    )
    drain_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        description="A gateway told to stop is not ready, and still serves, for so long: "
        "the time in which whoever sends it requests notices.",
    )
    drain_seconds: float = Field(
        default=30.0, ge=0, description="Time a stopping process gives to what it is doing."
    )


class EmbeddedPorts(SettingsGroup):
    """Ports of the embedded stack."""

    embedded_redis_port: Port = Field(default=16379, description="Port of the embedded Redis.")
    embedded_triton_http_port: Port = Field(default=18000, description="Embedded Triton, HTTP.")
    embedded_triton_grpc_port: Port = Field(default=18001, description="Embedded Triton, gRPC.")
    embedded_triton_metrics_port: Port = Field(
        default=18002, description="Embedded Triton, metrics."
    )


class Telemetry(SettingsGroup):
    """What is told."""

    health_poll_seconds: float = Field(
        default=5.0,
        gt=0,
        description="From one look at the parts behind the gateway to the next, for gRPC health.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="Shape of a log line.")
