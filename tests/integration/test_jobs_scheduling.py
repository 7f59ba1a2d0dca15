"""Tests of the order of jobs: by priority, then fair shares of owners, then submission."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

from service.domain.clip import AnalysisEvent
from service.domain.options import AnalysisOptions, Priority
from service.errors import ClipTooLong
from service.jobs.record import JobState
from service.pipeline.estimators import ServedEstimator
from service.redis_client.client import connect_redis
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually


async def _run_next_jobs(env: JobEnvironment, count: int, seconds: float = 60.0) -> list[str]:
    """Run the next jobs, each charged as if it had taken `seconds`; returns their owners."""
    owners: list[str] = []
    for _ in range(count):
        claim = await env.claim()
        owners.append(claim.record.owner)
        await _backdate_start(env, claim.job_id, seconds)
        await env.leases.succeed(claim, frames=1, result_bytes=0)
    return owners


async def test_an_owners_jobs_start_in_the_order_of_submission(env: JobEnvironment) -> None:
    submitted = [await env.submit() for _ in range(5)]

    assert submitted == [(await env.claim()).job_id for _ in submitted]


async def test_interactive_work_comes_before_all_bulk_work(env: JobEnvironment) -> None:
    bulk = [await env.submit("a"), await env.submit("b")]
    interactive = [await env.submit("a", Priority.INTERACTIVE) for _ in range(2)]

    started = [(await env.claim()).job_id for _ in range(4)]

    assert interactive == started[:2]
    assert sorted(bulk) == sorted(started[2:])


async def test_interactive_work_of_one_owner_does_not_always_come_first(
    env: JobEnvironment,
) -> None:
    """It is at most two jobs of 50 s ahead of the others' bulk work; then they take turns."""
    for _ in range(12):
        await env.submit("eager", Priority.INTERACTIVE)
        await env.submit("patient")

    owners = await _run_next_jobs(env, 10, seconds=50.0)

    assert owners[:2] == ["eager"] * 2
    assert owners.count("patient") == 4


async def test_interactive_work_comes_before_its_own_owners_bulk_work(env: JobEnvironment) -> None:
    bulk = await env.submit("a")
    interactive = [await env.submit("a", Priority.INTERACTIVE) for _ in range(4)]
    started: list[str] = []
    for _ in range(5):
        claim = await env.claim()
        started.append(claim.job_id)
        await _backdate_start(env, claim.job_id, 600.0)
        await env.leases.succeed(claim, frames=1, result_bytes=0)

    assert started == [*interactive, bulk]


async def test_addresses_share_the_work_of_callers_without_a_key(env: JobEnvironment) -> None:
    for _ in range(6):
        await env.submit(client_id="address:192.0.2.1")
    late = await env.submit(client_id="address:192.0.2.2")

    assert late in {(await env.claim()).job_id for _ in range(3)}


async def test_a_reserved_slot_is_for_a_client_that_runs_nothing(env: JobEnvironment) -> None:
    for _ in range(3):
        await env.submit("busy")
    running = [await env.claim() for _ in range(2)]
    assert {claim.record.owner for claim in running} == {"busy"}
    assert (await env.leases.claim(only_newcomers=True)).claim is None
    others = [await env.submit("other", Priority.INTERACTIVE) for _ in range(2)]

    claimed = (await env.leases.claim(only_newcomers=True)).claim

    assert claimed is not None
    assert claimed.job_id == others[0]
    assert (await env.leases.claim(only_newcomers=True)).claim is None
    await env.leases.fail(claimed, ClipTooLong())
    again = (await env.leases.claim(only_newcomers=True)).claim
    assert again is not None
    assert again.job_id == others[1]


async def test_a_worker_runs_another_owners_job_beside_long_jobs_of_one(
    env: JobEnvironment,
) -> None:
    long_jobs = {await env.submit("busy", Priority.INTERACTIVE) for _ in range(4)}
    end = asyncio.Event()
    analyse_now = make_fake_analysis(3)

    async def analyse(
        clip: Path, options: AnalysisOptions, estimator: ServedEstimator
    ) -> AsyncGenerator[AnalysisEvent]:
        if clip.name in long_jobs:
            await end.wait()
        async for event in analyse_now(clip, options, estimator):
            yield event

    async with env.running_worker(analyse):
        await eventually(lambda: _have_state(env, long_jobs, JobState.RUNNING, 2))
        others = [await env.submit("other") for _ in range(2)]
        records = [await env.wait_for_end(job_id) for job_id in others]
        assert await _have_state(env, long_jobs, JobState.RUNNING, 2)
        assert await _have_state(env, long_jobs, JobState.QUEUED, 2)
        end.set()
        for job_id in long_jobs:
            await env.wait_for_end(job_id)

    assert {record.state for record in records} == {JobState.SUCCEEDED}


async def test_running_jobs_of_a_client_can_be_limited(env: JobEnvironment) -> None:
    """A job whose worker is lost counts until it has ended."""
    limited = env.settings.model_copy(update={"max_running_jobs_per_client": 2})
    async with env.with_settings(limited) as limited_env:
        for _ in range(4):
            await limited_env.submit("busy")
        claims = [await limited_env.claim() for _ in range(2)]
        assert (await limited_env.leases.claim()).claim is None
        other = await limited_env.submit("other")
        assert (await limited_env.claim()).job_id == other
        await limited_env.expire_lease(claims[0])
        retaken = await limited_env.claim()
        assert retaken.job_id == claims[0].job_id
        assert (await limited_env.leases.claim()).claim is None
        await limited_env.leases.succeed(retaken, frames=1, result_bytes=0)
        assert (await limited_env.claim()).record.owner == "busy"
        assert (await limited_env.leases.claim()).claim is None


async def test_an_idle_queue_stores_no_shares(env: JobEnvironment) -> None:
    await env.submit(client_id="address:192.0.2.1")
    await _run_next_jobs(env, 1)
    async with connect_redis(env.settings.redis_url) as redis:
        assert not await redis.exists(env.key("work"), env.key("virtual_time"))


async def _have_state(
    env: JobEnvironment, job_ids: set[str], state: JobState, count: int
) -> bool | None:
    records = [await env.queue.find(job_id) for job_id in job_ids]
    return sum(record.state is state for record in records) == count or None


async def test_a_backlog_at_most_doubles_the_wait_of_another_owner(env: JobEnvironment) -> None:
    for _ in range(60):
        await env.submit("backlog")
    await _run_next_jobs(env, 20)
    for _ in range(5):
        await env.submit("other")

    owners = await _run_next_jobs(env, 11)

    assert Counter(owners)["other"] == 5


async def test_fair_shares_are_measured_in_work_not_in_jobs(env: JobEnvironment) -> None:
    """After a job of 40 s, 30 jobs of 1 s of another owner come before the next long one."""
    for _ in range(3):
        await env.submit("long")
    for _ in range(30):
        await env.submit("short")
    first = await env.claim()
    assert first.record.owner == "long"
    await _backdate_start(env, first.job_id, 40.0)
    await env.leases.succeed(first, frames=1, result_bytes=0)

    assert await _run_next_jobs(env, 30, seconds=1.0) == ["short"] * 30


async def _backdate_start(env: JobEnvironment, job_id: str, seconds: float) -> None:
    async with connect_redis(env.settings.redis_url) as redis:
        await redis.hincrbyfloat(env.key(f"job:{job_id}"), "attempt_started_at", -seconds)


async def test_an_owner_without_jobs_accumulates_no_share(env: JobEnvironment) -> None:
    await env.submit("absent")
    await _run_next_jobs(env, 1)
    for _ in range(40):
        await env.submit("busy")
    await _run_next_jobs(env, 20)
    for _ in range(20):
        await env.submit("absent")

    assert 4 <= Counter(await _run_next_jobs(env, 10))["absent"] <= 6


async def test_a_released_job_is_started_next(env: JobEnvironment) -> None:
    first, second = await env.submit(), await env.submit()
    await env.leases.release(await env.claim())

    assert [first, second] == [(await env.claim()).job_id for _ in range(2)]


async def test_a_job_that_lost_its_worker_comes_before_queued_jobs(env: JobEnvironment) -> None:
    lost = await env.submit()
    await env.expire_lease(await env.claim())
    await env.submit("another", Priority.INTERACTIVE)

    assert (await env.claim()).job_id == lost


async def test_a_deferred_job_is_claimed_when_it_is_due(env: JobEnvironment) -> None:
    job_id = await env.submit()
    await env.leases.defer(await env.claim(), seconds=60.0, deferrals=1)

    assert (await env.leases.claim()).claim is None
    record = await env.queue.find(job_id)
    assert (record.deferrals, record.lost) == (1, 0)
    assert record.retry_at is not None

    async with connect_redis(env.settings.redis_url) as redis:
        await redis.zadd(env.key("delayed"), {job_id: 1})
    again = await env.claim()
    assert (again.job_id, again.attempt, again.record.retry_at) == (job_id, 2, None)
