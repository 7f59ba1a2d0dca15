"""Settings of the processes: job lifecycle, shutdown, health and logs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from service.settings.base import SettingsGroup


class JobLifecycle(SettingsGroup):
    """Job lifecycle: queue, attempts, retention and shutdown."""

    queue_name: str = Field(default="circumplex", description="Prefix of all keys in Redis.")
    worker_concurrency: int = Field(
        default=2, ge=1, le=64, description="Jobs that one worker runs concurrently."
    )
    worker_reserved_slots: int = Field(
        default=1,
        ge=0,
        le=64,
        description="Jobs that one worker runs beyond worker_concurrency, each of an API key or "
        "address that runs none: long jobs of one do not stop those of the others.",
    )
    max_running_jobs_per_client: int | None = Field(
        default=None,
        ge=1,
        description="Maximum number of running jobs of one API key, or address where none is "
        "required, at all workers; unset: as many as there are without the reserved slots.",
    )
    lease_seconds: float = Field(
        default=10.0,
        ge=1,
        description="Duration of a job's lease, seconds; a job whose worker stops renewing it is "
        "given to another worker.",
    )
    max_attempts: int = Field(
        default=5,
        ge=1,
        le=20,
        description="Maximum number of attempts at a job whose workers are lost.",
    )
    max_deferrals: int = Field(
        default=1500,
        ge=1,
        description="Maximum number of deferrals of a job while a part of the service is "
        "unavailable; each lasts up to 64 s, together about a day.",
    )
    max_queued_jobs: int = Field(
        default=10_000,
        ge=1,
        description="Maximum number of queued jobs; more are answered with 429.",
    )
    clip_ttl_seconds: float = Field(
        default=24 * 3600.0,
        ge=0,
        description="Retention of a finished job's clip, seconds; until then the job can be "
        "retried.",
    )
    job_ttl_seconds: float = Field(
        default=7 * 24 * 3600.0,
        gt=0,
        description="Retention of a finished job and its results, seconds.",
    )
    drain_delay_seconds: float = Field(
        default=0.0,
        ge=0,
        description="Delay between failing readiness and refusing requests at shutdown, seconds: "
        "time for load balancers to notice.",
    )
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        description="Time that a stopping process allows for work in progress, seconds.",
    )


class Telemetry(SettingsGroup):
    """Telemetry: health checks and logs."""

    health_poll_seconds: float = Field(
        default=5.0,
        gt=0,
        description="Interval of the checks behind the gRPC health service, seconds.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Minimum level of log records."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="Format of log records."
    )
