"""Job records: state, clip, progress and outcome, and their form in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final
from uuid import UUID, uuid4

from service.domain.caller import ANONYMOUS
from service.domain.options import AnalysisOptions, FaceSelection, Priority
from service.errors import CircumplexError, InternalError, error_from_code

SCHEMA_VERSION: Final = "1"


class JobState(StrEnum):
    """State of a job.

    queued → running → succeeded | failed | cancelled; running → queued for another attempt.
    """

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether the job has ended."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """Record of one job. Times are seconds since the epoch.

    model: NAME@VERSION of the estimator; None: recorded before there was a choice.
    owner: id of the API key that submitted it.
    client_id: address that submitted it without a key, by which work is shared.
    attempt: number of the latest attempt: the fencing token.
    worker: worker of the latest attempt, as host:pid.
    lost: attempts that ended with the loss of their worker or decode process.
    deferrals: times it was deferred because a part of the service was unavailable.
    retry_at: time when a deferred job is queued again.
    published: the attempt whose results are the job's results.
    expires_at: time when the job is removed.
    clip_dropped: the clip has expired and is, or will be, deleted.
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
    model: str | None = None
    owner: str = ANONYMOUS.owner
    client_id: str | None = None
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
        """Key of the clip in the blob store."""
        return clip_key(self.id)

    @property
    def analysis_options(self) -> AnalysisOptions:
        """Options that the client chose."""
        return AnalysisOptions(
            faces=self.faces, video_stream=self.video_stream, audio_stream=self.audio_stream
        )

    @property
    def error(self) -> CircumplexError | None:
        """Error of a failed job."""
        if self.error_code is None:
            return None
        return error_from_code(self.error_code, self.error_detail)

    @property
    def fraction(self) -> float | None:
        """Progress in [0, 1], 1 only when succeeded; None while the frame count is unknown."""
        if self.state is JobState.SUCCEEDED:
            return 1.0
        if self.frames_total is None:
            return 0.0 if self.frames_done == 0 else None
        return min(self.frames_done / max(self.frames_total, 1), 0.99)

    def eta_seconds(self, now: float) -> float | None:
        """Estimate the time left, from the mean speed of the attempt; None while unknown."""
        started, done, total = self.attempt_started_at, self.frames_done, self.frames_total
        if self.state is not JobState.RUNNING or started is None or not done or total is None:
            return None
        return round(max(now - started, 0.0) / done * max(total - done, 0), 1)

    def result_key(self, format_name: str) -> str:
        """Return the key of the published result; raises InternalError before publication."""
        if self.published is None:
            raise InternalError("the job has no published result")
        return result_key(self.id, self.published, format_name)


def new_job_id() -> str:
    """Create a random id that cannot be guessed."""
    return str(uuid4())


def is_job_id(text: str) -> bool:
    """Return whether a text has the form of an id from `new_job_id`."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def clip_key(job_id: str) -> str:
    """Return the key of a job's clip in the blob store."""
    return f"clips/{job_id}"


def result_key(job_id: str, attempt: int, format_name: str) -> str:
    """Return the key of an attempt's result; no two attempts share one."""
    return f"results/{job_id}/{attempt}.{format_name}"


def record_to_fields(record: JobRecord) -> dict[str, str]:
    """Convert a record to a Redis hash, without fields that are None or False."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    known = {
        name: str(value)
        for name, value in values.items()
        if value is not None and value is not False
    }
    return {"schema": SCHEMA_VERSION, **known}


def record_from_fields(found: Mapping[str, str]) -> JobRecord:
    """Parse a Redis hash; raises InternalError if it has another schema."""
    if found.get("schema") != SCHEMA_VERSION:
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
