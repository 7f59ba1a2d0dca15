"""The gateway's side of a job's life, and what stays of it in Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

import pytest

from service.domain.caller import ANYONE, Limits
from service.errors import (
    ClipTooLong,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
)
from service.jobs.connection import connect
from service.jobs.desk import Desk
from service.jobs.listing import Filter
from service.jobs.record import JobRecord, JobState, new_job_id
from service.jobs.upkeep import Upkeep
from tests.integration.pretence import analysis_of
from tests.integration.rooms import Rooms, eventually

COUNTERS = {"clock", "last_created", "pulse", "served", "stored"}
"""What the queue keeps whatever jobs there are: as much as there are owners, at most."""


async def _kept(rooms: Rooms) -> set[str]:
    """Names of the queue's keys, but for its counters and the claims of the last minute."""
    prefix = f"{rooms.settings.queue_name}:"
    async with connect(rooms.settings.redis_url) as redis:
        names = [name.removeprefix(prefix) async for name in redis.scan_iter(f"{prefix}*")]
    return {name for name in names if name.partition(":")[0] not in COUNTERS | {"claim"}}


@pytest.fixture
async def upkeep(rooms: Rooms) -> AsyncGenerator[Upkeep]:
    async with Upkeep.open(rooms.settings) as upkeep:
        yield upkeep


def _record(owner: str = "k1", clip_bytes: int = 10) -> JobRecord:
    return JobRecord(
        id=new_job_id(),
        owner=owner,
        media_type="video/mp4",
        clip_bytes=clip_bytes,
        trace_id="0" * 32,
    )


async def test_a_full_queue_takes_no_more(rooms: Rooms) -> None:
    settings = rooms.settings.model_copy(update={"max_queued_jobs": 2})
    async with Desk.open(settings) as desk:
        await desk.submit(_record())
        await desk.check_room(ANYONE)
        await desk.submit(_record("k2"))
        refused = _record()
        for step in (desk.submit(refused), desk.check_room(ANYONE)):
            with pytest.raises(QueueFull) as caught:
                await step
            assert caught.value.retry_seconds

        await rooms.claim()
        await desk.submit(refused)


async def test_an_owner_may_hold_so_many_open_jobs(rooms: Rooms) -> None:
    limits = Limits(open_jobs=2)
    caller = dataclasses.replace(ANYONE, owner="k1", limits=limits)
    for _ in range(2):
        await rooms.desk.submit(_record(), limits=limits)
    claim = await rooms.claim()

    for step in (rooms.desk.submit(_record(), limits=limits), rooms.desk.check_room(caller)):
        with pytest.raises(QuotaExceeded, match="2 jobs"):
            await step
    await rooms.desk.submit(_record("k2"), limits=limits)

    await rooms.ledger.fail(claim, ClipTooLong())
    await rooms.desk.submit(_record(), limits=limits)
    with pytest.raises(QuotaExceeded):
        await rooms.desk.retry(claim.job_id, limits=limits)


async def test_an_owner_may_keep_so_many_bytes(rooms: Rooms) -> None:
    limits = Limits(stored_bytes=25)
    first = (await rooms.desk.submit(_record(), limits=limits)).record
    await rooms.ledger.succeed(await rooms.claim(), frames=1, result_bytes=6)

    with pytest.raises(QuotaExceeded, match="25 bytes"):
        await rooms.desk.submit(_record(), limits=limits)
    await rooms.desk.submit(_record(clip_bytes=9), limits=limits)
    await rooms.desk.remove(first.id)
    await rooms.desk.submit(_record(clip_bytes=16), limits=limits)
    assert await rooms.desk.stored_bytes() == 25


async def test_nothing_of_a_removed_job_stays_but_its_purge(rooms: Rooms, upkeep: Upkeep) -> None:
    ids = [await rooms.submit() for _ in range(5)]
    await rooms.ledger.succeed(await rooms.claim(), frames=1, result_bytes=6)
    await rooms.ledger.fail(await rooms.claim(), ClipTooLong())
    await rooms.ledger.put_off(await rooms.claim(), seconds=60.0, deferrals=1)
    running = await rooms.claim()

    for job_id in ids:
        await rooms.desk.remove(job_id)
        with pytest.raises(JobUnknown):
            await rooms.desk.remove(job_id)

    assert await _kept(rooms) == {"purge"}
    assert sorted(await upkeep.to_purge()) == sorted(ids)
    assert await rooms.desk.stored_bytes() == 0
    assert running.job_id in ids
    for job_id in ids:
        await upkeep.purged(job_id)
    assert await _kept(rooms) == set()


async def test_a_job_is_forgotten_when_its_time_is_over(rooms: Rooms, upkeep: Upkeep) -> None:
    settings = rooms.settings.model_copy(update={"job_ttl_seconds": 0.2, "clip_ttl_seconds": 0.0})
    hasty = dataclasses.replace(rooms, settings=settings)
    waiting, finished = await rooms.submit(), await rooms.submit()
    async with Desk.open(settings) as desk:
        await desk.cancel(finished)

    assert await upkeep.clips_due() == [finished]
    with pytest.raises(JobNotRetryable, match="not kept"):
        await rooms.desk.retry(finished)
    assert await upkeep.clips_due() == [finished]
    await upkeep.clip_dropped(finished)
    assert await upkeep.clips_due() == []
    assert await hasty.desk.stored_bytes() == len(b"clip")

    async def expired() -> int | None:
        return await upkeep.expire() or None

    assert await eventually(expired) == 1
    assert await upkeep.to_purge() == [finished]
    assert set(await upkeep.known([waiting, finished])) == {waiting}
    assert await hasty.desk.stored_bytes() == len(b"clip")


async def test_a_failed_job_can_be_tried_again(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    await rooms.ledger.fail(await rooms.claim(), ClipTooLong())
    failed = Filter(owner=None, state=JobState.FAILED, error_code="clip_too_long")
    assert [job.id for job in (await rooms.desk.listing.page(failed, size=9)).jobs] == [job_id]

    retried = await rooms.desk.retry(job_id)

    assert (retried.state, retried.error, retried.expires_at) == (JobState.QUEUED, None, None)
    assert (await rooms.desk.listing.page(failed, size=9)).jobs == ()
    async with rooms.worker(analysis_of(3)):
        record = await rooms.finished(job_id)
    assert (record.state, record.attempt, record.published) == (JobState.SUCCEEDED, 2, 2)
    with pytest.raises(JobNotRetryable, match="succeeded"):
        await rooms.desk.retry(job_id)


async def test_what_has_ended_cannot_be_cancelled(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    await rooms.ledger.fail(await rooms.claim(), ClipTooLong())

    with pytest.raises(JobFinished, match="failed"):
        await rooms.desk.cancel(job_id)
    for step in (rooms.desk.cancel("nobody"), rooms.desk.retry("nobody")):
        with pytest.raises(JobUnknown):
            await step


async def test_a_running_job_stops_soon_after_it_is_cancelled(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    async with rooms.worker(analysis_of(1000, frame_seconds=0.05)):

        async def running() -> bool | None:
            return (await rooms.desk.find(job_id)).frames_done > 0 or None

        await eventually(running)
        await rooms.desk.cancel(job_id)

        async def stopped() -> bool | None:
            ended = rooms.metrics.job_duration_seconds.labels("cancelled")
            return ended._sum.get() > 0 or None  # pyright: ignore[reportPrivateUsage]

        await eventually(stopped, 5.0)

    record = await rooms.desk.find(job_id)
    assert (record.state, record.published) == (JobState.CANCELLED, None)
    assert rooms.stored("results") == []


async def test_pages_hold_each_job_once_newest_first(rooms: Rooms) -> None:
    mine = [(await rooms.desk.submit(_record())).record.id for _ in range(7)]
    others = (await rooms.desk.submit(_record("k2"))).record.id

    async def pages(chosen: Filter) -> list[str]:
        found: list[str] = []
        before = None
        while True:
            page = await rooms.desk.listing.page(chosen, size=3, before=before)
            found += [job.id for job in page.jobs]
            if (before := page.before) is None:
                return found

    assert await pages(Filter(owner="k1")) == mine[::-1]
    assert await pages(Filter(owner=None)) == [others, *mine[::-1]]
    claimed = (await rooms.claim()).job_id
    assert await pages(Filter(owner=None, state=JobState.RUNNING)) == [claimed]
    assert len(await pages(Filter(owner=None, state=JobState.QUEUED))) == 7


async def test_events_tell_the_whole_story(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    following = asyncio.create_task(_story(rooms, job_id))
    async with rooms.worker(analysis_of(30, frame_seconds=0.1)):
        story = await following

    states = [event.state for event in story if event.kind == "state"]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    done = [event.frames_done for event in story if event.kind == "progress"]
    assert done == sorted(set(done))
    assert done
    for place, event in enumerate(story[:-1]):
        assert await rooms.desk.events.since(job_id, event.id) == story[place + 1 :]
    assert await rooms.desk.events.since(job_id, None) == story[-1:]


async def _story(rooms: Rooms, job_id: str) -> list:
    following = rooms.desk.events.follow(job_id, "0-0")
    return [event async for event in following if event is not None]


async def test_following_a_removed_job_ends(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    following = asyncio.create_task(_story(rooms, job_id))
    await asyncio.sleep(0.5)

    await rooms.desk.remove(job_id)

    with pytest.raises(JobUnknown):
        await asyncio.wait_for(following, 10.0)
