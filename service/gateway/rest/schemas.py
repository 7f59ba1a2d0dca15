"""The REST contract as pydantic models: what a client sees of a job and of a problem."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from service.domain.options import (
    MAX_STREAM_INDEX,
    AnalysisOptions,
    FaceSelection,
    Priority,
    SubmissionOptions,
)
from service.jobs.record import JobState

JobId = Annotated[str, Path(json_schema_extra={"format": "uuid"})]
"""Another text than an id is no job's: 404, as for an id that nobody has."""


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
    eta_seconds: float | None = Field(
        description="What a running job will still take at its pace so far; null while unknown."
    )


class Clip(BaseModel):
    """What the client sent."""

    filename: str | None
    media_type: str
    bytes: int


class AnalysisOptionsSchema(BaseModel):
    """What a client may choose for a clip; the rest is chosen by the rules of docs/api.md."""

    model_config = ConfigDict(extra="forbid", from_attributes=True)

    faces: FaceSelection = Field(
        FaceSelection.PRIMARY,
        description="`primary`: the face that is there most; `all`: a result for every face.",
    )
    video_stream: int | None = Field(
        None,
        ge=0,
        le=MAX_STREAM_INDEX,
        description="Which stream to look at, as ffprobe counts them.",
    )
    audio_stream: int | None = Field(
        None,
        ge=0,
        le=MAX_STREAM_INDEX,
        description="Which stream to listen to, as ffprobe counts them.",
    )


class SubmissionQuery(AnalysisOptionsSchema):
    """What a client may say of a clip in the query of its submission."""

    priority: Priority = Field(
        Priority.BULK,
        description="`interactive`: somebody waits for it, before all bulk work; `bulk`: in turn.",
    )

    @property
    def options(self) -> SubmissionOptions:
        """The same for the office."""
        choices = AnalysisOptions(
            faces=self.faces, video_stream=self.video_stream, audio_stream=self.audio_stream
        )
        return SubmissionOptions(analysis=choices, priority=self.priority)


class Job(BaseModel):
    """A job as it stands."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    state: JobState
    priority: Priority
    progress: Progress
    clip: Clip
    choices: AnalysisOptionsSchema
    attempts: int = Field(description="How often a worker has taken the job.")
    deferrals: int = Field(
        description="How often it was put off because a part of the service was away."
    )
    retry_at: datetime | None = Field(description="Until when it is put off.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None = Field(
        description="When a finished job and its results are deleted."
    )
    error: Problem | None = Field(description="Why the job failed.")
    links: dict[str, str] = Field(
        description="`self`, `events`, and `result` with one link per format."
    )
    actions: dict[str, str] = Field(
        description="What can be done with the job as it stands, as method and path: `cancel`, "
        "`retry`, `delete`."
    )
    owner: str | None = Field(default=None, description="Whose job it is; only an admin is told.")
    worker: str | None = Field(default=None, description="Who took it last; only an admin is told.")


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[Job]
    next_page_token: str | None = Field(
        description="Leads to the next page, as `page_token`; null on the last one."
    )


class JobEvent(BaseModel):
    """A job after a change: everything that an event is about."""

    job_id: str
    state: JobState
    attempts: int = Field(description="How often a worker has taken the job.")
    progress: Progress
    at: datetime
    error_code: str | None = Field(description="Why the job failed.")


class Readiness(BaseModel):
    """Whether each part behind the gateway can be used."""

    status: Literal["ready"]
    parts: dict[str, Literal["ready", "away"]]


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["live"]
