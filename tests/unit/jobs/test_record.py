"""Tests of job records: their form in Redis, progress, errors and keys."""

from __future__ import annotations

import dataclasses

import pytest

from service.domain.options import AnalysisOptions, FaceSelection, Priority
from service.errors import ClipTooLong, InternalError
from service.jobs.record import (
    JobRecord,
    JobState,
    is_job_id,
    new_job_id,
    record_from_fields,
    record_to_fields,
    result_key,
)

RECORD = JobRecord(
    id=new_job_id(), media_type="video/mp4", clip_bytes=3, trace_id="0" * 32, created_at=1.25
)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"filename": "Ünïque.mp4", "started_at": 2.5, "attempt": 2, "lost": 1},
        {"owner": "k1", "priority": Priority.INTERACTIVE, "worker": "host:7", "deferrals": 2},
        {"clip_dropped": True, "result_bytes": 9, "expires_at": 3.5, "retry_at": 2.25},
        {"faces": FaceSelection.ALL, "video_stream": 0, "audio_stream": 3},
        {"state": JobState.SUCCEEDED, "frames_done": 9, "frames_total": 9, "published": 2},
        {"state": JobState.FAILED, "error_code": "clip_too_long", "error_detail": "5 hours"},
    ],
)
def test_a_record_is_read_back_as_it_was_written(changes: dict[str, object]) -> None:
    record = dataclasses.replace(RECORD, **changes)  # pyright: ignore[reportArgumentType]  # changes of several types

    assert record_from_fields(record_to_fields(record)) == record


def test_record_without_options_fields_is_read() -> None:
    fields = record_to_fields(RECORD)
    del fields["faces"]

    assert record_from_fields(fields).analysis_options == AnalysisOptions()


def test_a_record_of_another_schema_is_not_read() -> None:
    with pytest.raises(InternalError, match="schema 2"):
        record_from_fields(record_to_fields(RECORD) | {"schema": "2"})


@pytest.mark.parametrize(
    ("changes", "fraction"),
    [
        ({}, 0.0),
        ({"frames_done": 5}, None),
        ({"frames_done": 5, "frames_total": 10}, 0.5),
        ({"frames_done": 12, "frames_total": 10}, 0.99),
        ({"frames_total": 0}, 0.0),
        ({"state": JobState.SUCCEEDED}, 1.0),
    ],
)
def test_progress_reaches_one_only_by_success(
    changes: dict[str, object], fraction: float | None
) -> None:
    record = dataclasses.replace(RECORD, **changes)  # pyright: ignore[reportArgumentType]  # changes of several types

    assert record.fraction == fraction


def test_an_error_is_read_back_as_its_class() -> None:
    record = dataclasses.replace(RECORD, error_code="clip_too_long", error_detail="5 hours")

    assert isinstance(record.error, ClipTooLong)
    assert record.error.detail == "5 hours"


def test_each_attempt_writes_to_its_own_result_key() -> None:
    assert result_key("id", 1, "json") != result_key("id", 2, "json")
    with pytest.raises(InternalError):
        RECORD.result_key("json")


@pytest.mark.parametrize(
    "text", ["", "what", "../../etc", "3FB9E068-C466-495E-AFB3-D2109CBC94F5", "1" * 32]
)
def test_malformed_job_ids_are_rejected(text: str) -> None:
    assert not is_job_id(text)
    assert is_job_id(new_job_id())
