"""What a client sees of a job's record."""

from __future__ import annotations

import time

from circumplex.v1 import jobs_pb2 as wire
from google.protobuf.timestamp_pb2 import Timestamp

from service.domain.caller import Caller, Scope
from service.jobs.record import JobRecord


def job_to_proto(record: JobRecord, caller: Caller) -> wire.Job:
    """The job as this caller may see it."""
    is_admin = caller.allows(Scope.ADMIN)
    return wire.Job(
        id=record.id,
        state=record.state,
        created_at=_to_timestamp(record.created_at),
        started_at=_to_timestamp(record.started_at),
        finished_at=_to_timestamp(record.finished_at),
        expires_at=_to_timestamp(record.expires_at),
        filename=record.filename,
        progress=wire.Progress(
            frames_done=record.frames_done,
            frames_total=record.frames_total,
            fraction=record.fraction,
            eta_seconds=record.eta_seconds(time.time()),
        ),
        error=_error_to_proto(record),
        attempt=record.attempt,
        priority=record.priority,
        media_type=record.media_type,
        clip_bytes=record.clip_bytes,
        faces=record.faces,
        video_stream=record.video_stream,
        audio_stream=record.audio_stream,
        deferrals=record.deferrals,
        retry_at=_to_timestamp(record.retry_at),
        owner=record.owner if is_admin else None,
        worker=record.worker if is_admin else None,
    )


def _error_to_proto(record: JobRecord) -> wire.JobError | None:
    error = record.error
    if error is None:
        return None
    return wire.JobError(code=error.code, detail=error.detail, retryable=error.retryable)


def _to_timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    moment = Timestamp()
    moment.FromMicroseconds(round(1e6 * seconds))
    return moment
