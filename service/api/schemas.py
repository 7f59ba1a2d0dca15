"""The REST contract as pydantic models: what a client sees of a job and of a problem."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.problems import problem
from service.domain.choices import Faces
from service.jobs.record import JobRecord, JobState
from service.results.formats import FORMATS

JOBS_PATH: Final = "/v1/jobs"
MOST_STREAM: Final = 999


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable: `urn:circumplex:problem:<code>`.")
    title: str = Field(description="What kind of error it is.")
    status: int
    detail: str = Field(description="What was wrong this time.")
    instance: str = Field(description="The path that was asked for.")
    code: str = Field(description="The error's stable code.")
    retryable: bool = Field(description="Whether the same request may succeed later.")
    trace_id: str
    job_id: str | None = None


class Progress(BaseModel):
    """How far a job is."""

    fraction: float | None = Field(description="0 to 1; null while the total is unknown.")
    frames_done: int
    frames_total: int | None = Field(description="An estimate until the job has succeeded.")


class Clip(BaseModel):
    """What the client sent."""

    filename: str | None
    media_type: str
    bytes: int


class ChoicesMade(BaseModel):
    """What a client may choose for a clip; the rest is chosen by the rules of docs/api.md."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    faces: Faces = Field(
        Faces.PRIMARY,
        description="`primary`: the face that is there most; `all`: a result for every face.",
    )
    video_stream: int | None = Field(
        None, ge=0, le=MOST_STREAM, description="Which stream to look at, as ffprobe counts them."
    )
    audio_stream: int | None = Field(
        None, ge=0, le=MOST_STREAM, description="Which stream to listen to, as ffprobe counts them."
    )


class Job(BaseModel):
    """A job as it stands."""

    id: str
    state: JobState
    progress: Progress
    clip: Clip
    choices: ChoicesMade
    attempts: int = Field(description="How often a worker has taken the job.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error: Problem | None = Field(description="Why the job failed.")
    links: dict[str, str] = Field(description="`self`, and `result` with one link per format.")


class Ready(BaseModel):
    """Whether each part behind the gateway can be used."""

    status: Literal["ready"]
    parts: dict[str, Literal["ready", "away"]]


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"]


def show_job(record: JobRecord) -> Job:
    """What a client sees of a record."""
    path = f"{JOBS_PATH}/{record.id}"
    error = record.error
    return Job(
        id=record.id,
        state=record.state,
        progress=Progress(
            fraction=record.fraction,
            frames_done=record.frames_done,
            frames_total=record.frames_total,
        ),
        clip=Clip(filename=record.filename, media_type=record.media_type, bytes=record.clip_bytes),
        choices=ChoicesMade.model_validate(record.choices),
        attempts=record.attempt,
        created_at=_moment(record.created_at),
        started_at=None if record.started_at is None else _moment(record.started_at),
        finished_at=None if record.finished_at is None else _moment(record.finished_at),
        error=None if error is None else Problem(**_problem(record, path)),
        links={"self": path, "result": f"{path}/result"}
        | {f"result.{name}": f"{path}/result?format={name}" for name in FORMATS},
    )


def _problem(record: JobRecord, path: str) -> dict[str, Any]:
    """The job's error; its trace is that of the request that submitted it."""
    assert record.error is not None
    return {**problem(record.error, path, record.id), "trace_id": record.trace_id}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
