from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from service.domain.choices import Choices
from service.domain.media import Flag
from service.domain.timeline import AnalysisEvent
from service.errors import (
    ClipTooLong,
    DecoderKilled,
    InferenceUnavailable,
    JobUnknown,
)
from service.jobs.ledger import AttemptSuperseded, Claim
from service.jobs.record import JobRecord, JobState
from tests.integration.pretence import analysis_of, failing_with
from tests.integration.rooms import Rooms, eventually


async def test_a_job_is_analysed_and_published(rooms: Rooms) -> None:
    job_id = await rooms.submit()

    async with rooms.worker(analysis_of(10)):
        record = await rooms.finished(job_id)

    assert (record.state, record.attempt, record.frames_done) == (JobState.SUCCEEDED, 1, 10)
    content = b"".join([part async for part in await rooms.store.get(record.result_key("json"))])
    assert json.loads(content)["flags"] == [Flag.NO_AUDIO]
    assert rooms.stored("results") == ["1.csv", "1.json"]
    assert (await rooms.desk.backlog()).depth == 0


async def test_progress_is_seen_while_the_job_runs(rooms: Rooms) -> None:
    job_id = await rooms.submit()

    async def half_done() -> JobRecord | None:
        record = await rooms.desk.find(job_id)
        return record if 0 < record.frames_done < 20 else None

    async with rooms.worker(analysis_of(20, frame_seconds=0.05)):
        record = await eventually(half_done)
        assert record.frames_total == 20
        assert record.state == JobState.RUNNING
        assert record.frames_done / 20 == record.fraction
        await rooms.finished(job_id)


async def test_a_clip_at_fault_fails_its_job_at_once(rooms: Rooms) -> None:
    job_id = await rooms.submit()

    async with rooms.worker(failing_with(ClipTooLong("5 hours"))):
        record = await rooms.finished(job_id)

    assert (record.state, record.attempt) == (JobState.FAILED, 1)
    assert isinstance(record.error, ClipTooLong)
    assert record.error.detail == "5 hours"
    assert rooms.stored("results") == []


async def test_a_defect_fails_the_job_and_tells_no_details(rooms: Rooms) -> None:
    job_id = await rooms.submit()

    async with rooms.worker(failing_with(ZeroDivisionError("secret"))):
        record = await rooms.finished(job_id)

    assert (record.error_code, record.attempt) == ("internal_error", 1)
    assert "secret" not in (record.error_detail or "")


async def test_a_part_that_comes_back_costs_a_retry_only(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    analyses = iter([failing_with(InferenceUnavailable()), analysis_of(10)])

    async with rooms.worker(lambda *told: next(analyses)(*told)):
        record = await rooms.finished(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_while_a_part_is_away_the_jobs_that_wait_are_not_touched(rooms: Rooms) -> None:
    submitted = [await rooms.submit() for _ in range(3)]
    back = asyncio.Event()

    async def is_back() -> bool:
        return back.is_set()

    async def analyse(clip: Path, choices: Choices) -> AsyncGenerator[AnalysisEvent]:
        told = analysis_of(3) if back.is_set() else failing_with(InferenceUnavailable())
        async for event in told(clip, choices):
            yield event

    alone = dataclasses.replace(
        rooms, settings=rooms.settings.model_copy(update={"worker_concurrency": 1})
    )
    async with alone.worker(analyse, is_back):
        await asyncio.sleep(2.0)
        deferrals = [(await rooms.desk.find(job_id)).deferrals for job_id in submitted]
        back.set()
        records = [await rooms.finished(job_id) for job_id in submitted]

    assert sorted(deferrals) == [0, 0, 1]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert [record.attempt for record in records] == [2, 1, 1]


async def test_what_lost_its_worker_is_taken_over_while_a_part_is_away(rooms: Rooms) -> None:
    lost = await rooms.submit()
    await rooms.claim()  # by a worker that is never heard of again
    await rooms.submit()

    async def is_back() -> bool:
        return False

    async def was_taken_over() -> JobRecord | None:
        record = await rooms.desk.find(lost)
        return record if record.deferrals else None

    async with rooms.worker(failing_with(InferenceUnavailable()), is_back):
        waiting = await rooms.submit()
        record = await eventually(was_taken_over)

    assert (record.attempt, record.lost) == (2, 1)
    assert (await rooms.desk.find(waiting)).attempt <= 1


@pytest.mark.parametrize(("killed", "state"), [(1, JobState.QUEUED), (3, JobState.FAILED)])
async def test_a_clip_is_given_up_for_decoders_killed_not_for_parts_away(
    rooms: Rooms, killed: int, state: JobState
) -> None:
    """With at most three attempts lost: being put off for other reasons takes none of them."""
    job_id = await rooms.submit()
    settings = rooms.settings.model_copy(update={"max_attempts": 3})
    errors = [InferenceUnavailable()] * 4 + [DecoderKilled()] * killed
    for error in errors:
        annotator = dataclasses.replace(rooms.annotator(failing_with(error)), settings=settings)
        await annotator(await rooms.claim())
        await rooms.wake(job_id)

    record = await rooms.desk.find(job_id)
    assert (record.state, record.lost) == (state, min(killed, 2))


async def test_a_job_finished_once_is_finished_for_ever(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    claim = await rooms.claim()
    await rooms.ledger.fail(claim, ClipTooLong())
    before = await rooms.desk.find(job_id)

    assert (await rooms.ledger.claim()).claim is None
    for change in (
        rooms.ledger.hand_back(claim),
        rooms.ledger.beat(claim, 1, None),
        rooms.ledger.succeed(claim, frames=3, result_bytes=7),
    ):
        with pytest.raises(AttemptSuperseded):
            await change
    assert before == await rooms.desk.find(job_id)


async def test_a_change_whose_answer_was_lost_can_be_sent_again(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    claim = await rooms.claim()

    for _ in range(2):
        await rooms.ledger.succeed(claim, frames=3, result_bytes=7)

    assert (await rooms.desk.find(job_id)).published == 1
    assert await rooms.desk.stored_bytes() == len(b"clip") + 7


async def test_a_superseded_attempt_publishes_nothing(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    async with rooms.worker(analysis_of(20, frame_seconds=0.05)):

        async def running() -> JobRecord | None:
            record = await rooms.desk.find(job_id)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        await rooms.lose(Claim(record=await rooms.desk.find(job_id)))
        second = await rooms.claim()

        async def superseded() -> bool | None:
            ended = rooms.metrics.job_duration_seconds.labels("superseded")
            return ended._sum.get() > 0 or None  # pyright: ignore[reportPrivateUsage]

        await eventually(superseded)

    record = await rooms.desk.find(job_id)
    assert (record.state, record.attempt, record.published) == (JobState.RUNNING, 2, None)
    assert rooms.stored("results") == []
    await rooms.ledger.succeed(second, frames=20, result_bytes=0)


async def test_a_clip_that_takes_workers_down_is_given_up(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    limit = rooms.settings.max_attempts
    for attempt in range(1, limit + 1):
        claim = await rooms.claim()
        assert (claim.attempt, claim.record.lost) == (attempt, attempt - 1)
        await rooms.lose(claim)

    claimed = await rooms.ledger.claim()

    assert (claimed.claim, claimed.lost, claimed.given_up) == (None, 1, (job_id,))
    record = await rooms.desk.find(job_id)
    assert (record.state, record.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert record.lost == limit


async def test_a_job_handed_back_counts_as_nobodys_fault(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    for _ in range(5):
        await rooms.ledger.hand_back(await rooms.claim())

    record = await rooms.desk.find(job_id)
    assert (record.state, record.attempt, record.lost) == (JobState.QUEUED, 5, 0)


async def test_a_job_submitted_twice_is_worked_on_once(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    record = await rooms.desk.find(job_id)

    assert (await rooms.desk.submit(record)).record == record
    assert (await rooms.desk.backlog()).depth == 1


async def test_a_drained_worker_finishes_what_it_has_and_takes_no_more(rooms: Rooms) -> None:
    first = await rooms.submit()
    async with rooms.worker(analysis_of(20, frame_seconds=0.05)) as stop:

        async def running() -> JobRecord | None:
            record = await rooms.desk.find(first)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        stop.set()
        await asyncio.sleep(0.5)
        second = await rooms.submit()

    assert (await rooms.desk.find(first)).state == JobState.SUCCEEDED
    assert (await rooms.desk.find(second)).state == JobState.QUEUED


async def test_a_drain_that_takes_too_long_hands_the_job_to_another(rooms: Rooms) -> None:
    hasty = Rooms(
        settings=rooms.settings.model_copy(update={"drain_seconds": 0.3}),
        ledger=rooms.ledger,
        desk=rooms.desk,
        store=rooms.store,
        metrics=rooms.metrics,
    )
    job_id = await rooms.submit()
    async with hasty.worker(analysis_of(1000, frame_seconds=0.05)) as stop:

        async def running() -> JobRecord | None:
            record = await rooms.desk.find(job_id)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        stop.set()
    assert (await rooms.desk.find(job_id)).state == JobState.QUEUED

    async with rooms.worker(analysis_of(5)):
        record = await rooms.finished(job_id)
    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_an_unknown_job_is_unknown(rooms: Rooms) -> None:
    with pytest.raises(JobUnknown):
        await rooms.desk.find("nobody")


async def test_a_job_longer_than_its_lease_is_worked_on_once(rooms: Rooms) -> None:
    analyse = analysis_of(40, frame_seconds=3 * rooms.settings.lease_seconds / 40)
    job_id = await rooms.submit()

    async with rooms.worker(analyse), rooms.worker(analyse):
        record = await rooms.finished(job_id)

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)
