"""What a client sees of a job's record."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

from service.domain.caller import Caller, Scope
from service.gateway.rest.problems import problem_details
from service.gateway.rest.schemas import (
    AnalysisOptionsSchema,
    Clip,
    Job,
    JobEvent,
    Problem,
    Progress,
)
from service.gateway.rest.urls import CANCEL_PATH, EVENTS_PATH, JOB_PATH, RESULT_PATH, RETRY_PATH
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord, JobState
from service.results.formats import FORMATS


def job_to_schema(record: JobRecord, caller: Caller, now: float | None = None) -> Job:
    """The job as this caller may see it: what is not set is not shown.

    Args: now: seconds since the epoch; None: by this machine's clock.
    """
    job = Job(
        id=record.id,
        state=record.state,
        priority=record.priority,
        progress=progress_to_schema(record, time.time() if now is None else now),
        clip=Clip(filename=record.filename, media_type=record.media_type, bytes=record.clip_bytes),
        choices=AnalysisOptionsSchema.model_validate(record.analysis_options),
        attempts=record.attempt,
        deferrals=record.deferrals,
        retry_at=_to_datetime_or_none(record.retry_at),
        created_at=to_datetime(record.created_at),
        started_at=_to_datetime_or_none(record.started_at),
        finished_at=_to_datetime_or_none(record.finished_at),
        expires_at=_to_datetime_or_none(record.expires_at),
        error=_problem_to_schema(record),
        links=_links(record),
        actions=_actions(record),
    )
    if caller.allows(Scope.ADMIN):
        job.owner, job.worker = record.owner, record.worker
    return job


def progress_to_schema(record: JobRecord, now: float) -> Progress:
    """How far the job was at `now`, seconds since the epoch."""
    return Progress(
        fraction=record.fraction,
        frames_done=record.frames_done,
        frames_total=record.frames_total,
        eta_seconds=record.eta_seconds(now),
    )


def event_to_schema(record: JobRecord, event: JobUpdate) -> JobEvent:
    """The job as it stood when the event happened; `record` tells when its attempt started."""
    snapshot = replace(
        record,
        state=event.state,
        attempt=event.attempt,
        attempt_started_at=record.attempt_started_at if event.attempt == record.attempt else None,
        frames_done=event.frames_done,
        frames_total=event.frames_total,
    )
    return JobEvent(
        job_id=record.id,
        state=event.state,
        attempts=event.attempt,
        progress=progress_to_schema(snapshot, event.occurred_at),
        at=to_datetime(event.occurred_at),
        error_code=event.error_code,
    )


def to_datetime(seconds: float) -> datetime:
    """Seconds since the epoch as a moment that is written by RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC)


def _links(record: JobRecord) -> dict[str, str]:
    templates = {"self": JOB_PATH, "events": EVENTS_PATH, "result": RESULT_PATH}
    links = {name: template.format(job_id=record.id) for name, template in templates.items()}
    return links | {f"result.{name}": f"{links['result']}?format={name}" for name in FORMATS}


def _actions(record: JobRecord) -> dict[str, str]:
    templates = {"delete": f"DELETE {JOB_PATH}"}
    if not record.state.is_final:
        templates["cancel"] = f"POST {CANCEL_PATH}"
    if record.state in (JobState.FAILED, JobState.CANCELLED) and not record.clip_dropped:
        templates["retry"] = f"POST {RETRY_PATH}"
    return {name: template.format(job_id=record.id) for name, template in templates.items()}


def _problem_to_schema(record: JobRecord) -> Problem | None:
    """The job's error; its trace is that of the request that submitted it."""
    if record.error is None:
        return None
    details = problem_details(record.error, JOB_PATH.format(job_id=record.id), record.id)
    return Problem.model_validate({**details, "trace_id": record.trace_id})


def _to_datetime_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else to_datetime(seconds)
