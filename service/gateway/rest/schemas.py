"""The REST contract: paths, pydantic models of requests and responses, and their construction."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Final, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from service.domain.caller import Caller, Scope
from service.domain.estimator import CHOICE_PATTERN
from service.domain.options import (
    MAX_STREAM_INDEX,
    AnalysisOptions,
    FaceSelection,
    Priority,
    SubmissionOptions,
)
from service.gateway.rest.problems import problem_details
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord, JobState
from service.results.formats import FORMATS

JOBS_PATH: Final = "/v1/jobs"
JOB_PATH: Final = f"{JOBS_PATH}/{{job_id}}"
CANCEL_PATH: Final = f"{JOB_PATH}:cancel"
RETRY_PATH: Final = f"{JOB_PATH}:retry"
EVENTS_PATH: Final = f"{JOB_PATH}/events"
RESULT_PATH: Final = f"{JOB_PATH}/result"
WEBSOCKET_PATH: Final = "/v1/live"

JobId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
"""Not validated: a text that is no id is answered with 404, like an unknown id."""


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable: `urn:circumplex:problem:<code>`.")
    title: str = Field(description="The kind of error.")
    status: int
    detail: str = Field(description="The cause of this occurrence.")
    instance: str = Field(description="The path of the request.")
    code: str = Field(description="The error's stable code.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    trace_id: str
    job_id: str | None = None


class Progress(BaseModel):
    """Progress of a job."""

    fraction: float | None = Field(description="0 to 1; null while the total is unknown.")
    frames_done: int
    frames_total: int | None = Field(description="An estimate until the job has succeeded.")
    eta_seconds: float | None = Field(
        description="Remaining seconds of a running job at its pace so far; null while unknown."
    )


class Clip(BaseModel):
    """The uploaded clip, as the client described it."""

    filename: str | None
    media_type: str
    bytes: int


class AnalysisOptionsSchema(BaseModel):
    """Options of a clip; rules in docs/reference/result-format.md choose the rest."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    faces: FaceSelection = Field(
        FaceSelection.PRIMARY,
        description="`primary`: the face seen in most frames; `all`: a result for every face.",
    )
    video_stream: int | None = Field(
        None,
        ge=0,
        le=MAX_STREAM_INDEX,
        description="Index of the video stream, as ffprobe counts; default: chosen automatically.",
    )
    audio_stream: int | None = Field(
        None,
        ge=0,
        le=MAX_STREAM_INDEX,
        description="Index of the audio stream, as ffprobe counts; default: chosen automatically.",
    )


class SubmissionQuery(AnalysisOptionsSchema):
    """Query parameters of a submission."""

    model: str | None = Field(
        None,
        pattern=rf"^{CHOICE_PATTERN.pattern}$",
        description="Model: a name, for its current version, or NAME@VERSION; default: the "
        "service's. GET /v1/models lists them.",
    )
    priority: Priority = Field(
        Priority.BULK,
        description="`interactive`: before bulk jobs, when a person waits; `bulk`: in order.",
    )

    @property
    def options(self) -> SubmissionOptions:
        """The options as the use cases take them."""
        analysis = AnalysisOptions(
            faces=self.faces, video_stream=self.video_stream, audio_stream=self.audio_stream
        )
        return SubmissionOptions(analysis=analysis, model=self.model, priority=self.priority)


class JobResource(BaseModel):
    """The current state of a job."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    state: JobState
    priority: Priority
    model: str | None = Field(
        description="Model that the job is pinned to, NAME@VERSION; null: recorded by a service "
        "with one model."
    )
    progress: Progress
    clip: Clip
    choices: AnalysisOptionsSchema
    attempts: int = Field(description="Number of attempts: how often a worker has started the job.")
    deferrals: int = Field(
        description="Number of deferrals because a part of the service was unavailable."
    )
    retry_at: datetime | None = Field(description="End of the current deferral.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="Time at which the finished job and its results are deleted."
    )
    error: Problem | None = Field(description="Cause of the failure.")
    links: dict[str, str] = Field(
        description="`self`, `events`, and `result` with one link per format."
    )
    actions: dict[str, str] = Field(
        description="Actions that the job's state allows, each with method and path: `cancel`, "
        "`retry`, `delete`."
    )
    owner: str | None = Field(
        default=None,
        description="Id of the API key that submitted the job; visible to admins only.",
    )
    worker: str | None = Field(
        default=None, description="Worker of the last attempt; visible to admins only."
    )


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobResource]
    next_page_token: str | None = Field(
        description="Value of `page_token` for the next page; null on the last one."
    )


class JobEvent(BaseModel):
    """The state of a job after an event."""

    job_id: str
    state: JobState
    attempts: int = Field(description="Number of attempts: how often a worker has started the job.")
    progress: Progress
    at: datetime
    error_code: str | None = Field(description="Cause of the failure.")


class Readiness(BaseModel):
    """Status of the parts that the gateway depends on."""

    status: Literal["ready"]
    parts: dict[str, Literal["ready", "away"]]
    models: dict[str, str] = Field(
        description="Each served model's current version: `ready`, or the code of its error."
    )


class Liveness(BaseModel):
    """Status of the process."""

    status: Literal["live"]


def job_to_schema(record: JobRecord, caller: Caller, now: float | None = None) -> JobResource:
    """The job as this caller may see it; fields left unset are not serialized.

    Args: now: seconds since the epoch; None: the current time.
    """
    job = JobResource(
        id=record.id,
        state=record.state,
        priority=record.priority,
        model=record.model,
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
    """Progress of the job at `now`, seconds since the epoch."""
    return Progress(
        fraction=record.fraction,
        frames_done=record.frames_done,
        frames_total=record.frames_total,
        eta_seconds=record.eta_seconds(now),
    )


def event_to_schema(record: JobRecord, event: JobUpdate) -> JobEvent:
    """The job at the time of the event; `record` holds the start of the current attempt."""
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
    """Seconds since the epoch as a datetime in UTC."""
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
    """The job's error, with the trace id of the request that submitted the job."""
    if record.error is None:
        return None
    details = problem_details(record.error, JOB_PATH.format(job_id=record.id), record.id)
    return Problem.model_validate({**details, "trace_id": record.trace_id})


def _to_datetime_or_none(seconds: float | None) -> datetime | None:
    return None if seconds is None else to_datetime(seconds)
