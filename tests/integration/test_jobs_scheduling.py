"""Tests of the order of jobs: by priority, then fair shares of owners, then submission."""

from __future__ import annotations

from collections import Counter

from service.domain.options import Priority
from service.redis_client.client import connect_redis
from tests.integration.job_environment import JobEnvironment


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
