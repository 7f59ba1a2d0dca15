"""A job as it is remembered: its state, its clip, its progress and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from service.domain.caller import ANONYMOUS
from service.domain.options import AnalysisOptions, FaceSelection, Priority
from service.errors import CircumplexError, InternalError, error_from_code

SCHEMA_VERSION: Final = 2
READABLE_SCHEMAS: Final = ("1", str(SCHEMA_VERSION))
"""Schemas whose records are read; 1 had no owner and no priority. See lua/adopt.lua."""


class JobState(StrEnum):
    """queued → running → succeeded | failed | cancelled; running → queued to try again."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job, as last written. Times are seconds since the epoch.

    owner: who submitted it: the id of an API key.
    attempt: the fencing token: how often a worker has taken the job.
    worker: who took it last, as host:pid.
    lost: attempts that ended without a word, their worker or their decoder with them.
    deferrals: how often it was put off since a part of the service was away, until `retry_at`.
    published: the attempt whose results are the job's results.
    expires_at: when the job is forgotten; clip_dropped: its clip is gone already.
    """

    id: str
    state: JobState = JobState.QUEUED
    filename: str | None = None
    media_type: str
    clip_bytes: int
    trace_id: str
    faces: FaceSelection = FaceSelection.PRIMARY
    video_stream: int | None = None
    audio_stream: int | None = None
    owner: str = ANONYMOUS.owner
    priority: Priority = Priority.BULK
    created_at: float = 0.0
    started_at: float | None = None
    attempt_started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    clip_dropped: bool = False
    attempt: int = 0
    worker: str | None = None
    lost: int = 0
    deferrals: int = 0
    retry_at: float | None = None
    frames_done: int = 0
    frames_total: int | None = None
    published: int | None = None
    result_bytes: int = 0
    error_code: str | None = None
    error_detail: str | None = None

    @property
    def clip_key(self) -> str:
        """Where the clip is in the store."""
        return clip_key(self.id)

    @property
    def analysis_options(self) -> AnalysisOptions:
        """What was chosen for the clip."""
        return AnalysisOptions(
            faces=self.faces, video_stream=self.video_stream, audio_stream=self.audio_stream
        )

    @property
    def error(self) -> CircumplexError | None:
        """Why the job failed."""
        if self.error_code is None:
            return None
        return error_from_code(self.error_code, self.error_detail)

    @property
    def fraction(self) -> float | None:
        """Progress in [0, 1], 1 only when succeeded; None while the frames' number is unknown."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        if self.frames_total is None:
            return 0.0 if self.frames_done == 0 else None
        return min(self.frames_done / max(self.frames_total, 1), 0.99)

    def eta_seconds(self, now: float) -> float | None:
        """What is left at `now`, at the attempt's pace so far; None while that is unknown."""
        started, done, total = self.attempt_started_at, self.frames_done, self.frames_total
        if self.state is not JobState.RUNNING or started is None or not done or total is None:
            return None
        return round(max(now - started, 0.0) / done * max(total - done, 0), 1)

    def result_key(self, format_name: str) -> str:
        """Where the published result is in the store; raises InternalError before publication."""
        if self.published is None:
            raise InternalError("the job has no published result")
        return result_key(self.id, self.published, format_name)


def new_job_id() -> str:
    """An id that cannot be guessed."""
    return str(uuid4())


def is_job_id(text: str) -> bool:
    """Whether this could be an id that `new_job_id` made."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def clip_key(job_id: str) -> str:
    """Where a job's clip is in the store."""
    return f"clips/{job_id}"


def result_key(job_id: str, attempt: int, format_name: str) -> str:
    """Where an attempt writes: no attempt can overwrite another's."""
    return f"results/{job_id}/{attempt}.{format_name}"


def record_to_fields(record: JobRecord) -> dict[str, str]:
    """The record as a Redis hash; what is not known or not so is left out."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    known = {
        name: str(value)
        for name, value in values.items()
        if value is not None and value is not False
    }
    return {"schema": str(SCHEMA_VERSION), **known}


def record_from_fields(found: Mapping[str, str]) -> JobRecord:
    """The record a Redis hash holds; raises InternalError for one of another schema."""
    if found.get("schema") not in READABLE_SCHEMAS:
        raise InternalError(f"the job was recorded with schema {found.get('schema')}")
    known = {field.name for field in fields(JobRecord)}
    read: dict[str, Any] = {
        name: _FIELD_PARSERS.get(name, str)(value) for name, value in found.items() if name in known
    }
    return JobRecord(**read)


_FIELD_PARSERS: Final[Mapping[str, Any]] = {
    "state": JobState,
    "clip_bytes": int,
    "faces": FaceSelection,
    "video_stream": int,
    "audio_stream": int,
    "priority": Priority,
    "created_at": float,
    "started_at": float,
    "attempt_started_at": float,
    "finished_at": float,
    "expires_at": float,
    "clip_dropped": bool,
    "attempt": int,
    "lost": int,
    "deferrals": int,
    "retry_at": float,
    "frames_done": int,
    "frames_total": int,
    "published": int,
    "result_bytes": int,
}
