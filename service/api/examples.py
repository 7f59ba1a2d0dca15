"""Answers as they really look: made of records by the code that makes every answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from service.api.schemas import Jobs
from service.api.showing import show_job
from service.domain.caller import Caller, Scope
from service.errors import ClipTruncated
from service.jobs.events import Event
from service.jobs.record import JobRecord, JobState
from service.office.paging import token_of

CALLER: Final = Caller(
    owner="4fTq0ZkWb1xD", name="studio", scopes=frozenset({Scope.SUBMIT, Scope.READ})
)
CREATED: Final = 1_795_404_618.214775
_QUEUED: Final = JobRecord(
    id="0c2f3a52-6f0e-4a5e-9d7b-6a1f6f1f2b11",
    filename="interview.mp4",
    media_type="video/mp4",
    clip_bytes=18_734_211,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    owner=CALLER.owner,
    created_at=CREATED,
)
RUNNING_RECORD: Final = replace(
    _QUEUED,
    state=JobState.RUNNING,
    attempt=1,
    started_at=CREATED + 2.1,
    attempt_started_at=CREATED + 2.1,
    frames_done=640,
    frames_total=1500,
)
_SUCCEEDED: Final = replace(
    RUNNING_RECORD,
    state=JobState.SUCCEEDED,
    frames_done=1500,
    published=1,
    finished_at=CREATED + 53.4,
    expires_at=CREATED + 53.4 + 7 * 24 * 3600,
)
_FAILED: Final = replace(
    _SUCCEEDED,
    id="7d1b6c1e-9a3f-4c56-8f3e-2f8f0b7f5a90",
    filename="cut short.mp4",
    created_at=CREATED - 3.25,
    state=JobState.FAILED,
    frames_done=0,
    frames_total=None,
    published=None,
    error_code=ClipTruncated.code,
    error_detail=ClipTruncated.title(),
)

QUEUED: Final = show_job(_QUEUED, CALLER, CREATED)
RUNNING: Final = show_job(RUNNING_RECORD, CALLER, CREATED + 24.5)
SUCCEEDED: Final = show_job(_SUCCEEDED, CALLER, CREATED + 60)
CANCELLED: Final = show_job(
    replace(_SUCCEEDED, state=JobState.CANCELLED, published=None), CALLER, CREATED + 60
)
RETRIED: Final = show_job(replace(_QUEUED, attempt=1), CALLER, CREATED + 120)
PAGE: Final = Jobs(
    jobs=[RUNNING, show_job(_FAILED, CALLER, CREATED + 24.5)],
    next_page_token=token_of(f"{_FAILED.created_at:.6f}"),
)
EVENT: Final = Event(
    id=f"{int(1000 * (CREATED + 24.5))}-0",
    kind="progress",
    state=JobState.RUNNING,
    attempt=1,
    frames_done=RUNNING_RECORD.frames_done,
    frames_total=RUNNING_RECORD.frames_total,
    worker=None,
    error_code=None,
)
