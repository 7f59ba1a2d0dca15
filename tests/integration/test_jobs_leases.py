"""Tests of leases: renewal, expiry, outages of Redis and repeated claims."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.jobs.queue.database import QueueDatabase
from service.jobs.queue.leases import AttemptSuperseded, Claim, LeaseManager
from service.jobs.record import JobState
from service.redis_client.client import connect_redis, list_members
from tests.integration.job_environment import JobEnvironment, eventually

CLAIM_ARGUMENTS = ("host:1", "one token", 10.0, 5, "attempts_exhausted", "", 60.0, 60.0)


async def _set_last_contact(env: JobEnvironment, seconds_ago: float) -> None:
    """Simulate a time in which no worker has reached Redis."""
    async with connect_redis(env.settings.redis_url) as redis:
        await redis.set(env.key("last_contact"), time.time() - seconds_ago)


async def test_a_heartbeat_renews_the_lease(env: JobEnvironment) -> None:
    await env.submit()
    claim = await env.claim()
    await env.expire_lease(claim)

    await env.leases.renew(claim, 3, 10)

    assert (await env.leases.claim()).claim is None
    record = await env.queue.find(claim.job_id)
    assert (record.frames_done, record.frames_total) == (3, 10)


async def test_an_expired_lease_can_be_claimed(env: JobEnvironment) -> None:
    await env.submit()
    first = await env.claim()
    await env.expire_lease(first)
    second = await env.claim()

    assert (second.job_id, second.attempt, second.record.lost) == (first.job_id, 2, 1)
    for change in (
        env.leases.renew(first, 1, None),
        env.leases.defer(first, seconds=0.0, deferrals=1),
        env.leases.succeed(first, frames=1, result_bytes=0),
    ):
        with pytest.raises(AttemptSuperseded):
            await change
    await env.leases.renew(second, 1, None)


async def test_leases_survive_an_outage_of_redis(env: JobEnvironment) -> None:
    """A worker that could not renew its lease during an outage of Redis is not lost."""
    await env.submit()
    claim = await env.claim()
    await env.expire_lease(claim)
    await _set_last_contact(env, seconds_ago=60.0)

    assert (await env.leases.claim()).claim is None
    await env.leases.renew(claim, 1, None)
    assert (await env.queue.find(claim.job_id)).lost == 0


async def test_leases_of_lost_workers_expire_after_an_outage(env: JobEnvironment) -> None:
    await env.submit()
    await env.claim()
    await _set_last_contact(env, seconds_ago=60.0)
    await env.leases.claim()

    async def poll() -> Claim | None:
        return (await env.leases.claim()).claim

    claim = await eventually(poll, 20 * env.settings.lease_seconds)
    assert claim.record.lost == 1


async def test_a_repeated_claim_returns_the_same_lease(env: JobEnvironment) -> None:
    """redis-py sends a command again after a broken connection."""
    for _ in range(2):
        await env.submit()
    async with connect_redis(env.settings.redis_url) as redis:
        database = QueueDatabase(redis, env.settings.queue_name)
        claims = [await database.run_script("claim", *CLAIM_ARGUMENTS) for _ in range(2)]

    assert claims[0] == claims[1]
    assert (await env.queue.measure_backlog()).depth == 1


async def test_a_claim_repeated_after_its_lease_expired_is_refused(env: JobEnvironment) -> None:
    """Otherwise two workers could work on one attempt and both publish it."""
    await env.submit()
    async with connect_redis(env.settings.redis_url) as redis:
        database = QueueDatabase(redis, env.settings.queue_name)
        assert (await database.run_script("claim", *CLAIM_ARGUMENTS))[2]
        leases = database.key("leases")
        await redis.zadd(leases, dict.fromkeys(await list_members(redis, leases), 1))
        assert (await env.claim()).attempt == 2

        assert await database.run_script("claim", *CLAIM_ARGUMENTS) == [[], 0, []]


async def test_two_workers_never_lease_one_job(env: JobEnvironment) -> None:
    submitted = {await env.submit() for _ in range(40)}
    async with LeaseManager.open(env.settings) as other:

        async def claim_all(leases: LeaseManager) -> list[str]:
            claimed: list[str] = []
            while (outcome := await leases.claim()).claim is not None:
                claimed.append(outcome.claim.job_id)
            return claimed

        claimed = await asyncio.gather(*(claim_all(each) for each in (env.leases, other) * 4))

    ids = [job_id for each in claimed for job_id in each]
    assert len(ids) == len(submitted)
    assert submitted == set(ids)


async def test_a_cancelled_job_cannot_be_renewed_or_claimed(env: JobEnvironment) -> None:
    await env.submit()
    claim = await env.claim()

    assert (await env.queue.cancel(claim.job_id)).state is JobState.CANCELLED

    with pytest.raises(AttemptSuperseded):
        await env.leases.renew(claim, 1, None)
    assert (await env.leases.claim()).claim is None
