"""Answers as they really look: made of records by the code that makes every answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from service.domain.caller import Caller, Scope
from service.errors import ClipTruncated
from service.gateway.rest.schemas import JobPage
from service.gateway.rest.serializers import job_to_schema
from service.gateway.use_cases.pagination import encode_page_token
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord, JobState

CALLER: Final = Caller(
    owner="4fTq0ZkWb1xD", name="studio", scopes=frozenset({Scope.SUBMIT, Scope.READ})
)
CREATED_AT: Final = 1_795_404_618.214775
_QUEUED_RECORD: Final = JobRecord(
    id="0c2f3a52-6f0e-4a5e-9d7b-6a1f6f1f2b11",
    filename="interview.mp4",
    media_type="video/mp4",
    clip_bytes=18_734_211,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    owner=CALLER.owner,
    created_at=CREATED_AT,
)
RUNNING_RECORD: Final = replace(
    _QUEUED_RECORD,
    state=JobState.RUNNING,
    attempt=1,
    started_at=CREATED_AT + 2.1,
    attempt_started_at=CREATED_AT + 2.1,
    frames_done=640,
    frames_total=1500,
)
_SUCCEEDED_RECORD: Final = replace(
    RUNNING_RECORD,
    state=JobState.SUCCEEDED,
    frames_done=1500,
    published=1,
    finished_at=CREATED_AT + 53.4,
    expires_at=CREATED_AT + 53.4 + 7 * 24 * 3600,
)
_FAILED_RECORD: Final = replace(
    _SUCCEEDED_RECORD,
    id="7d1b6c1e-9a3f-4c56-8f3e-2f8f0b7f5a90",
    filename="cut short.mp4",
    created_at=CREATED_AT - 3.25,
    state=JobState.FAILED,
    frames_done=0,
    frames_total=None,
    published=None,
    error_code=ClipTruncated.code,
    error_detail=ClipTruncated.title(),
)

QUEUED: Final = job_to_schema(_QUEUED_RECORD, CALLER, CREATED_AT)
RUNNING: Final = job_to_schema(RUNNING_RECORD, CALLER, CREATED_AT + 24.5)
SUCCEEDED: Final = job_to_schema(_SUCCEEDED_RECORD, CALLER, CREATED_AT + 60)
CANCELLED: Final = job_to_schema(
    replace(_SUCCEEDED_RECORD, state=JobState.CANCELLED, published=None), CALLER, CREATED_AT + 60
)
RETRIED: Final = job_to_schema(replace(_QUEUED_RECORD, attempt=1), CALLER, CREATED_AT + 120)
PAGE: Final = JobPage(
    jobs=[RUNNING, job_to_schema(_FAILED_RECORD, CALLER, CREATED_AT + 24.5)],
    next_page_token=encode_page_token(f"{_FAILED_RECORD.created_at:.6f}"),
)
EVENT: Final = JobUpdate(
    id=f"{int(1000 * (CREATED_AT + 24.5))}-0",
    kind="progress",
    state=JobState.RUNNING,
    attempt=1,
    frames_done=RUNNING_RECORD.frames_done,
    frames_total=RUNNING_RECORD.frames_total,
    worker=None,
    error_code=None,
)
