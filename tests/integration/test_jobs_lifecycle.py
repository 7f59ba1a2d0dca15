from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from service.domain.media import Flag
from service.domain.options import AnalysisOptions
from service.domain.timeline import AnalysisEvent
from service.errors import (
    ClipTooLong,
    DecoderKilled,
    InferenceUnavailable,
    JobUnknown,
)
from service.jobs.queue.leases import AttemptSuperseded, Claim
from service.jobs.record import JobRecord, JobState
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually


async def test_a_job_is_analysed_and_published(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async with env.running_worker(make_fake_analysis(10)):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt, record.frames_done) == (JobState.SUCCEEDED, 1, 10)
    content = b"".join([part async for part in await env.store.get(record.result_key("json"))])
    assert json.loads(content)["flags"] == [Flag.NO_AUDIO]
    assert env.list_stored_files("results") == ["1.csv", "1.json"]
    assert (await env.queue.measure_backlog()).depth == 0


async def test_progress_is_seen_while_the_job_runs(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async def half_done() -> JobRecord | None:
        record = await env.queue.find(job_id)
        return record if 0 < record.frames_done < 20 else None

    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)):
        record = await eventually(half_done)
        assert record.frames_total == 20
        assert record.state == JobState.RUNNING
        assert record.frames_done / 20 == record.fraction
        await env.wait_for_end(job_id)


async def test_a_clip_at_fault_fails_its_job_at_once(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async with env.running_worker(make_failing_analysis(ClipTooLong("5 hours"))):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt) == (JobState.FAILED, 1)
    assert isinstance(record.error, ClipTooLong)
    assert record.error.detail == "5 hours"
    assert env.list_stored_files("results") == []


async def test_an_internal_error_fails_the_job_and_leaks_no_details(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async with env.running_worker(make_failing_analysis(ZeroDivisionError("secret"))):
        record = await env.wait_for_end(job_id)

    assert (record.error_code, record.attempt) == ("internal_error", 1)
    assert "secret" not in (record.error_detail or "")


async def test_a_short_dependency_outage_costs_one_retry(env: JobEnvironment) -> None:
    job_id = await env.submit()
    analyses = iter([make_failing_analysis(InferenceUnavailable()), make_fake_analysis(10)])

    async with env.running_worker(lambda *told: next(analyses)(*told)):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_waiting_jobs_stay_queued_during_a_dependency_outage(env: JobEnvironment) -> None:
    submitted = [await env.submit() for _ in range(3)]
    back = asyncio.Event()

    async def is_back() -> bool:
        return back.is_set()

    async def analyse(clip: Path, choices: AnalysisOptions) -> AsyncGenerator[AnalysisEvent]:
        told = (
            make_fake_analysis(3)
            if back.is_set()
            else make_failing_analysis(InferenceUnavailable())
        )
        async for event in told(clip, choices):
            yield event

    alone = dataclasses.replace(
        env, settings=env.settings.model_copy(update={"worker_concurrency": 1})
    )
    async with alone.running_worker(analyse, is_back):
        await asyncio.sleep(2.0)
        deferrals = [(await env.queue.find(job_id)).deferrals for job_id in submitted]
        back.set()
        records = [await env.wait_for_end(job_id) for job_id in submitted]

    assert sorted(deferrals) == [0, 0, 1]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert [record.attempt for record in records] == [2, 1, 1]


async def test_a_lost_workers_job_is_taken_over_during_a_dependency_outage(
    env: JobEnvironment,
) -> None:
    lost = await env.submit()
    await env.claim()  # by a worker that is never heard of again
    await env.submit()

    async def is_back() -> bool:
        return False

    async def was_taken_over() -> JobRecord | None:
        record = await env.queue.find(lost)
        return record if record.deferrals else None

    async with env.running_worker(make_failing_analysis(InferenceUnavailable()), is_back):
        waiting = await env.submit()
        record = await eventually(was_taken_over)

    assert (record.attempt, record.lost) == (2, 1)
    assert (await env.queue.find(waiting)).attempt <= 1


@pytest.mark.parametrize(("killed", "state"), [(1, JobState.QUEUED), (3, JobState.FAILED)])
async def test_a_clip_is_abandoned_for_killed_decoders_not_for_outages(
    env: JobEnvironment, killed: int, state: JobState
) -> None:
    """With at most three attempts lost: being put off for other reasons takes none of them."""
    job_id = await env.submit()
    settings = env.settings.model_copy(update={"max_attempts": 3})
    errors = [InferenceUnavailable()] * 4 + [DecoderKilled()] * killed
    for error in errors:
        annotator = dataclasses.replace(
            env.make_job_runner(make_failing_analysis(error)), settings=settings
        )
        await annotator(await env.claim())
        await env.expire_deferral(job_id)

    record = await env.queue.find(job_id)
    assert (record.state, record.lost) == (state, min(killed, 2))


async def test_a_final_state_never_changes(env: JobEnvironment) -> None:
    job_id = await env.submit()
    claim = await env.claim()
    await env.leases.fail(claim, ClipTooLong())
    before = await env.queue.find(job_id)

    assert (await env.leases.claim()).claim is None
    for change in (
        env.leases.release(claim),
        env.leases.renew(claim, 1, None),
        env.leases.succeed(claim, frames=3, result_bytes=7),
    ):
        with pytest.raises(AttemptSuperseded):
            await change
    assert before == await env.queue.find(job_id)


async def test_a_change_whose_answer_was_lost_can_be_sent_again(env: JobEnvironment) -> None:
    job_id = await env.submit()
    claim = await env.claim()

    for _ in range(2):
        await env.leases.succeed(claim, frames=3, result_bytes=7)

    assert (await env.queue.find(job_id)).published == 1
    assert await env.queue.measure_stored_bytes() == len(b"clip") + 7


async def test_a_superseded_attempt_publishes_nothing(env: JobEnvironment) -> None:
    job_id = await env.submit()
    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)):

        async def running() -> JobRecord | None:
            record = await env.queue.find(job_id)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        await env.expire_lease(Claim(record=await env.queue.find(job_id)))
        second = await env.claim()

        async def superseded() -> bool | None:
            ended = env.metrics.job_duration_seconds.labels("superseded")
            return ended._sum.get() > 0 or None  # pyright: ignore[reportPrivateUsage]

        await eventually(superseded)

    record = await env.queue.find(job_id)
    assert (record.state, record.attempt, record.published) == (JobState.RUNNING, 2, None)
    assert env.list_stored_files("results") == []
    await env.leases.succeed(second, frames=20, result_bytes=0)


async def test_a_clip_that_crashes_workers_is_abandoned(env: JobEnvironment) -> None:
    job_id = await env.submit()
    limit = env.settings.max_attempts
    for attempt in range(1, limit + 1):
        claim = await env.claim()
        assert (claim.attempt, claim.record.lost) == (attempt, attempt - 1)
        await env.expire_lease(claim)

    claimed = await env.leases.claim()

    assert (claimed.claim, claimed.lost_attempts, claimed.exhausted_jobs) == (None, 1, (job_id,))
    record = await env.queue.find(job_id)
    assert (record.state, record.error_code) == (JobState.FAILED, "attempts_exhausted")
    assert record.lost == limit


async def test_a_released_job_is_not_counted_as_lost(env: JobEnvironment) -> None:
    job_id = await env.submit()
    for _ in range(5):
        await env.leases.release(await env.claim())

    record = await env.queue.find(job_id)
    assert (record.state, record.attempt, record.lost) == (JobState.QUEUED, 5, 0)


async def test_a_job_submitted_twice_is_worked_on_once(env: JobEnvironment) -> None:
    job_id = await env.submit()
    record = await env.queue.find(job_id)

    assert (await env.queue.submit(record)).record == record
    assert (await env.queue.measure_backlog()).depth == 1


async def test_a_drained_worker_finishes_what_it_has_and_takes_no_more(env: JobEnvironment) -> None:
    first = await env.submit()
    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)) as stop:

        async def running() -> JobRecord | None:
            record = await env.queue.find(first)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        stop.set()
        await asyncio.sleep(0.5)
        second = await env.submit()

    assert (await env.queue.find(first)).state == JobState.SUCCEEDED
    assert (await env.queue.find(second)).state == JobState.QUEUED


async def test_a_drain_that_takes_too_long_hands_the_job_to_another(env: JobEnvironment) -> None:
    hasty = JobEnvironment(
        settings=env.settings.model_copy(update={"drain_seconds": 0.3}),
        leases=env.leases,
        queue=env.queue,
        store=env.store,
        metrics=env.metrics,
    )
    job_id = await env.submit()
    async with hasty.running_worker(make_fake_analysis(1000, frame_seconds=0.05)) as stop:

        async def running() -> JobRecord | None:
            record = await env.queue.find(job_id)
            return record if record.state is JobState.RUNNING else None

        await eventually(running)
        stop.set()
    assert (await env.queue.find(job_id)).state == JobState.QUEUED

    async with env.running_worker(make_fake_analysis(5)):
        record = await env.wait_for_end(job_id)
    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_an_unknown_job_is_unknown(env: JobEnvironment) -> None:
    with pytest.raises(JobUnknown):
        await env.queue.find("nobody")


async def test_a_job_longer_than_its_lease_is_worked_on_once(env: JobEnvironment) -> None:
    analyse = make_fake_analysis(40, frame_seconds=3 * env.settings.lease_seconds / 40)
    job_id = await env.submit()

    async with env.running_worker(analyse), env.running_worker(analyse):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)
