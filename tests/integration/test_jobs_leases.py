"""A lease holds while somebody renews it, and while nobody can."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from service.jobs.queue.leases import AttemptSuperseded, LeaseManager
from service.jobs.record import JobState
from service.redis_client.client import connect_redis
from service.redis_client.scripts import LuaScripts
from tests.integration.job_environment import JobEnvironment


async def _set_last_heartbeat(rooms: JobEnvironment, seconds_ago: float) -> None:
    """As if nobody had reached Redis for so long."""
    async with connect_redis(rooms.settings.redis_url) as redis:
        await redis.set(f"{rooms.settings.queue_name}:pulse", time.time() - seconds_ago)


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


async def test_an_outage_costs_no_lease(env: JobEnvironment) -> None:
    """Who could not renew a lease since nobody reached Redis has not been lost."""
    await env.submit()
    claim = await env.claim()
    await env.expire_lease(claim)
    await _set_last_heartbeat(env, seconds_ago=60.0)

    assert (await env.leases.claim()).claim is None
    await env.leases.renew(claim, 1, None)
    assert (await env.queue.find(claim.job_id)).lost == 0


async def test_leases_of_lost_workers_expire_after_an_outage(env: JobEnvironment) -> None:
    await env.submit()
    await env.claim()
    await _set_last_heartbeat(env, seconds_ago=60.0)
    await env.leases.claim()
    started = time.monotonic()

    while (claimed := await env.leases.claim()).claim is None:
        assert time.monotonic() - started < 20 * env.settings.lease_seconds
        await asyncio.sleep(0.05)

    assert claimed.claim.record.lost == 1


async def test_a_repeated_claim_returns_the_same_lease(env: JobEnvironment) -> None:
    """redis-py sends a command again that met a broken connection."""
    for _ in range(2):
        await env.submit()
    async with connect_redis(env.settings.redis_url) as redis:
        scripts = LuaScripts(redis, env.settings.queue_name)
        told = ("host:1", "one token", 10.0, 5, "attempts_exhausted", "", 60.0, 60.0)
        claims = [await scripts.run("claim", *told) for _ in range(2)]

    assert claims[0] == claims[1]
    assert (await env.queue.measure_backlog()).depth == 1


async def test_a_claim_repeated_after_its_lease_expired_is_refused(env: JobEnvironment) -> None:
    """Else two workers would work on one attempt, and both could publish it."""
    await env.submit()
    async with connect_redis(env.settings.redis_url) as redis:
        scripts = LuaScripts(redis, env.settings.queue_name)
        told = ("host:1", "one token", 10.0, 5, "attempts_exhausted", "", 60.0, 60.0)
        assert (await scripts.run("claim", *told))[2]
        await redis.zadd(
            scripts.key("leases"), dict.fromkeys(await _list_leases(redis, scripts), 1)
        )
        assert (await env.claim()).attempt == 2

        assert await scripts.run("claim", *told) == [[], 0, []]


async def _list_leases(redis: Redis, scripts: LuaScripts) -> list[str]:
    return await redis.zrange(scripts.key("leases"), 0, -1)


async def test_two_workers_never_lease_one_job(env: JobEnvironment) -> None:
    submitted = {await env.submit() for _ in range(40)}
    async with LeaseManager.open(env.settings) as other:

        async def take(ledger: LeaseManager) -> list[str]:
            taken: list[str] = []
            while (claimed := await ledger.claim()).claim is not None:
                taken.append(claimed.claim.job_id)
            return taken

        taken = await asyncio.gather(*(take(ledger) for ledger in (env.leases, other) * 4))

    ids = [job_id for some in taken for job_id in some]
    assert len(ids) == len(submitted)
    assert submitted == set(ids)


async def test_a_cancelled_job_is_no_longer_its_workers(env: JobEnvironment) -> None:
    await env.submit()
    claim = await env.claim()

    assert (await env.queue.cancel(claim.job_id)).state is JobState.CANCELLED

    with pytest.raises(AttemptSuperseded):
        await env.leases.renew(claim, 1, None)
    assert (await env.leases.claim()).claim is None
