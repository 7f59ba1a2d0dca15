"""Tests of the life of a job with a worker: success, failure, deferral, loss and drain."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from service.domain.clip import AnalysisEvent
from service.domain.media import Flag
from service.domain.options import AnalysisOptions
from service.errors import (
    ClipTooLong,
    DecoderKilled,
    InferenceUnavailable,
    JobUnknown,
)
from service.jobs.queue.leases import AttemptSuperseded, Claim
from service.jobs.record import JobState
from service.pipeline.estimators import ServedEstimator
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, until

READINESS_CHECKS = 5


async def test_a_job_is_analysed_and_published(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async with env.running_worker(make_fake_analysis(10)):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt, record.frames_done) == (JobState.SUCCEEDED, 1, 10)
    content = b"".join([part async for part in await env.store.get(record.result_key("json"))])
    assert json.loads(content)["flags"] == [Flag.NO_AUDIO, Flag.WEIGHTS_UNMEASURED]
    assert env.list_stored_files("results") == ["1.csv", "1.json"]
    assert (await env.queue.measure_backlog()).depth == 0


async def test_progress_is_reported_while_the_job_runs(env: JobEnvironment) -> None:
    job_id = await env.submit()

    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)):
        record = await env.wait_for_job(job_id, lambda job: 0 < job.frames_done < 20)
        assert record.frames_total == 20
        assert record.state == JobState.RUNNING
        assert record.frames_done / 20 == record.fraction
        await env.wait_for_end(job_id)


async def test_a_clip_error_fails_the_job_without_another_attempt(env: JobEnvironment) -> None:
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

    def analyse(
        clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        return next(analyses)(clip, options, estimator)

    async with env.running_worker(analyse):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_waiting_jobs_stay_queued_during_a_dependency_outage(env: JobEnvironment) -> None:
    submitted = [await env.submit() for _ in range(3)]
    available = asyncio.Event()
    readiness_checks: list[bool] = []

    async def is_ready() -> bool:
        readiness_checks.append(available.is_set())
        return available.is_set()

    def analyse(
        clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        failing = make_failing_analysis(InferenceUnavailable())
        return (make_fake_analysis(3) if available.is_set() else failing)(clip, options, estimator)

    settings = env.settings.model_copy(update={"worker_concurrency": 1})
    async with dataclasses.replace(env, settings=settings).running_worker(analyse, is_ready):
        await env.wait_for_job(submitted[0], lambda job: job.deferrals > 0)
        await env.expire_deferral(submitted[0])
        readiness_checks.clear()
        await until(lambda: len(readiness_checks) >= READINESS_CHECKS)
        deferrals = [(await env.queue.find(job_id)).deferrals for job_id in submitted]
        available.set()
        records = [await env.wait_for_end(job_id) for job_id in submitted]

    assert sorted(deferrals) == [0, 0, 1]
    assert {record.state for record in records} == {JobState.SUCCEEDED}
    assert [record.attempt for record in records] == [2, 1, 1]


async def test_a_lost_workers_job_is_taken_over_during_a_dependency_outage(
    env: JobEnvironment,
) -> None:
    lost = await env.submit()
    await env.claim()  # by a worker that then disappears
    await env.submit()

    async def is_ready() -> bool:
        return False

    async with env.running_worker(make_failing_analysis(InferenceUnavailable()), is_ready):
        waiting = await env.submit()
        record = await env.wait_for_job(lost, lambda job: job.deferrals > 0)

    assert (record.attempt, record.lost) == (2, 1)
    assert (await env.queue.find(waiting)).attempt <= 1


@pytest.mark.parametrize(("killed", "state"), [(1, JobState.QUEUED), (3, JobState.FAILED)])
async def test_a_clip_is_abandoned_for_killed_decoders_not_for_outages(
    env: JobEnvironment, killed: int, state: JobState
) -> None:
    """With max_attempts of three: deferrals for other reasons do not count as lost attempts."""
    job_id = await env.submit()
    settings = env.settings.model_copy(update={"max_attempts": 3})
    errors = [InferenceUnavailable()] * 4 + [DecoderKilled()] * killed
    for error in errors:
        job_runner = dataclasses.replace(
            env.make_job_runner(make_failing_analysis(error)), settings=settings
        )
        await job_runner(await env.claim())
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


async def test_a_repeated_completion_is_counted_once(env: JobEnvironment) -> None:
    job_id = await env.submit()
    claim = await env.claim()

    for _ in range(2):
        await env.leases.succeed(claim, frames=3, result_bytes=7)

    assert (await env.queue.find(job_id)).published == 1
    assert await env.queue.measure_stored_bytes() == len(b"clip") + 7


async def test_a_superseded_attempt_publishes_nothing(env: JobEnvironment) -> None:
    job_id = await env.submit()
    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)):
        await env.expire_lease(Claim(record=await env.wait_for_start(job_id)))
        second = await env.claim()
        await env.wait_for_outcome("superseded")

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


async def test_a_drained_worker_finishes_its_job_and_claims_no_more(
    env: JobEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = await env.submit()
    async with env.running_worker(make_fake_analysis(20, frame_seconds=0.05)) as stop:
        await env.wait_for_start(first)
        stop.set()
        await until(lambda: "draining: 1 jobs" in caplog.text)
        second = await env.submit()

    assert (await env.queue.find(first)).state == JobState.SUCCEEDED
    assert (await env.queue.find(second)).state == JobState.QUEUED


async def test_a_drain_that_takes_too_long_releases_the_job(env: JobEnvironment) -> None:
    settings = env.settings.model_copy(update={"drain_seconds": 0.3})
    job_id = await env.submit()
    async with dataclasses.replace(env, settings=settings).running_worker(
        make_fake_analysis(1000, frame_seconds=0.05)
    ) as stop:
        await env.wait_for_start(job_id)
        stop.set()
    assert (await env.queue.find(job_id)).state == JobState.QUEUED

    async with env.running_worker(make_fake_analysis(5)):
        record = await env.wait_for_end(job_id)
    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 0)


async def test_an_unknown_job_is_not_found(env: JobEnvironment) -> None:
    with pytest.raises(JobUnknown):
        await env.queue.find("unknown")


async def test_a_job_longer_than_its_lease_is_worked_on_once(env: JobEnvironment) -> None:
    analyse = make_fake_analysis(40, frame_seconds=3 * env.settings.lease_seconds / 40)
    job_id = await env.submit()

    async with env.running_worker(analyse), env.running_worker(analyse):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)
