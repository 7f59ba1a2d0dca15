"""A lease holds while somebody renews it, and while nobody can."""

from __future__ import annotations

import asyncio
import time

import pytest
from redis.asyncio import Redis

from service.jobs.connection import connect
from service.jobs.ledger import AttemptSuperseded, Ledger
from service.jobs.record import JobState
from service.jobs.scripts import Scripts
from tests.integration.rooms import Rooms


async def _pulse_was(rooms: Rooms, seconds_ago: float) -> None:
    """As if nobody had reached Redis for so long."""
    async with connect(rooms.settings.redis_url) as redis:
        await redis.set(f"{rooms.settings.queue_name}:pulse", time.time() - seconds_ago)


async def test_a_beat_renews_the_lease(rooms: Rooms) -> None:
    await rooms.submit()
    claim = await rooms.claim()
    await rooms.lose(claim)

    await rooms.ledger.beat(claim, 3, 10)

    assert (await rooms.ledger.claim()).claim is None
    record = await rooms.desk.find(claim.job_id)
    assert (record.frames_done, record.frames_total) == (3, 10)


async def test_a_lease_that_has_ended_goes_to_whoever_asks(rooms: Rooms) -> None:
    await rooms.submit()
    first = await rooms.claim()
    await rooms.lose(first)
    second = await rooms.claim()

    assert (second.job_id, second.attempt, second.record.lost) == (first.job_id, 2, 1)
    for change in (
        rooms.ledger.beat(first, 1, None),
        rooms.ledger.put_off(first, seconds=0.0, deferrals=1),
        rooms.ledger.succeed(first, frames=1, result_bytes=0),
    ):
        with pytest.raises(AttemptSuperseded):
            await change
    await rooms.ledger.beat(second, 1, None)


async def test_an_outage_costs_no_lease(rooms: Rooms) -> None:
    """Who could not renew a lease since nobody reached Redis has not been lost."""
    await rooms.submit()
    claim = await rooms.claim()
    await rooms.lose(claim)
    await _pulse_was(rooms, seconds_ago=60.0)

    assert (await rooms.ledger.claim()).claim is None
    await rooms.ledger.beat(claim, 1, None)
    assert (await rooms.desk.find(claim.job_id)).lost == 0


async def test_after_an_outage_the_leases_of_the_lost_end(rooms: Rooms) -> None:
    await rooms.submit()
    await rooms.claim()
    await _pulse_was(rooms, seconds_ago=60.0)
    await rooms.ledger.claim()
    started = time.monotonic()

    while (claimed := await rooms.ledger.claim()).claim is None:
        assert time.monotonic() - started < 20 * rooms.settings.lease_seconds
        await asyncio.sleep(0.05)

    assert claimed.claim.record.lost == 1


async def test_a_claim_whose_answer_was_lost_is_the_claim_it_was(rooms: Rooms) -> None:
    """redis-py sends a command again that met a broken connection."""
    for _ in range(2):
        await rooms.submit()
    async with connect(rooms.settings.redis_url) as redis:
        scripts = Scripts(redis, rooms.settings.queue_name)
        told = ("host:1", "one token", 10.0, 5, "attempts_exhausted", "", 60.0, 60.0)
        claims = [await scripts.run("claim", *told) for _ in range(2)]

    assert claims[0] == claims[1]
    assert (await rooms.desk.backlog()).depth == 1


async def test_a_claim_repeated_after_its_lease_is_no_claim(rooms: Rooms) -> None:
    """Else two workers would work on one attempt, and both could publish it."""
    await rooms.submit()
    async with connect(rooms.settings.redis_url) as redis:
        scripts = Scripts(redis, rooms.settings.queue_name)
        told = ("host:1", "one token", 10.0, 5, "attempts_exhausted", "", 60.0, 60.0)
        assert (await scripts.run("claim", *told))[2]
        await redis.zadd(scripts.key("leases"), dict.fromkeys(await _leased(redis, scripts), 1))
        assert (await rooms.claim()).attempt == 2

        assert await scripts.run("claim", *told) == [[], 0, []]


async def _leased(redis: Redis, scripts: Scripts) -> list[str]:
    return await redis.zrange(scripts.key("leases"), 0, -1)


async def test_two_ledgers_never_hold_one_job(rooms: Rooms) -> None:
    submitted = {await rooms.submit() for _ in range(40)}
    async with Ledger.open(rooms.settings) as other:

        async def take(ledger: Ledger) -> list[str]:
            taken: list[str] = []
            while (claimed := await ledger.claim()).claim is not None:
                taken.append(claimed.claim.job_id)
            return taken

        taken = await asyncio.gather(*(take(ledger) for ledger in (rooms.ledger, other) * 4))

    ids = [job_id for some in taken for job_id in some]
    assert len(ids) == len(submitted)
    assert submitted == set(ids)


async def test_a_cancelled_job_is_no_longer_its_workers(rooms: Rooms) -> None:
    await rooms.submit()
    claim = await rooms.claim()

    assert (await rooms.desk.cancel(claim.job_id)).state is JobState.CANCELLED

    with pytest.raises(AttemptSuperseded):
        await rooms.ledger.beat(claim, 1, None)
    assert (await rooms.ledger.claim()).claim is None
