"""What is due is deleted, and nothing else is, whatever the queue has lost."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import ClipTruncated, JobNotRetryable, JobUnknown, QueueUnavailable
from service.jobs.caretaker import Caretaker
from service.jobs.connection import connect
from service.jobs.orphans import Orphans
from service.jobs.record import JobState, clip_key, new_job_id, result_key
from service.jobs.upkeep import Upkeep
from service.settings import Settings
from service.store import open_store
from tests.integration.buckets import BucketServer
from tests.integration.pretence import analysis_of, chunks_of, failing_with
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import free_port

OLD_SECONDS = 7200.0
"""Twice the grace."""


@pytest.fixture
async def upkeep(settings: Settings) -> AsyncGenerator[Upkeep]:
    async with Upkeep.open(settings) as upkeep:
        yield upkeep


@pytest.fixture
async def orphans(upkeep: Upkeep, rooms: Rooms) -> Orphans:
    """A search whose store and queue are a pair already."""
    orphans = Orphans(upkeep, rooms.store, rooms.settings)
    assert await orphans.sweep() == 0
    return orphans


@asynccontextmanager
async def at_work(rooms: Rooms, **changes: object) -> AsyncGenerator[None]:
    settings = rooms.settings.model_copy(update=changes)
    async with Upkeep.open(settings) as upkeep:
        working = asyncio.create_task(Caretaker(upkeep, rooms.store, settings).run())
        try:
            yield
            assert not working.done()
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working


async def leave(rooms: Rooms, key: str, *, age_seconds: float = OLD_SECONDS) -> str:
    """A blob of a certain age."""
    await rooms.store.put(key, chunks_of(b"left"))
    then = time.time() - age_seconds
    await asyncio.to_thread(os.utime, rooms.settings.store_dir / key, (then, then))
    return key


async def over(rooms: Rooms, name: str, job_id: str) -> None:
    """Bring forward what a job waits for in one of the queue's sorted sets."""
    async with connect(rooms.settings.redis_url) as redis:
        key = f"{rooms.settings.queue_name}:{name}"
        assert await redis.zadd(key, {job_id: 1}, xx=True, ch=True)


async def keys(rooms: Rooms) -> set[str]:
    found: set[str] = set()
    for prefix in ("clips", "results", "ready"):
        found |= {blob.key async for blob in rooms.store.list(prefix)}
    return found


async def traces(rooms: Rooms, job_id: str) -> list[str]:
    """Keys of the queue that name a job, and blobs that do."""
    async with connect(rooms.settings.redis_url) as redis:
        named = [key async for key in redis.scan_iter(f"{rooms.settings.queue_name}:*{job_id}*")]
        due = await redis.zrange(f"{rooms.settings.queue_name}:purge", 0, -1)
    return named + due + [key for key in await keys(rooms) if job_id in key]


async def test_a_deleted_job_leaves_nothing_though_the_store_was_away(rooms: Rooms) -> None:
    job_id, other = await rooms.submit(), await rooms.submit()
    async with rooms.worker(analysis_of(5)):
        await rooms.finished(job_id)
        await rooms.finished(other)
    assert len(await traces(rooms, job_id)) >= 5
    folder = rooms.settings.store_dir
    aside = folder.with_name("aside")

    await asyncio.to_thread(folder.rename, aside)
    await asyncio.to_thread(folder.write_text, "no folder")
    async with at_work(rooms):
        await rooms.desk.remove(job_id)
        await asyncio.sleep(1.5)
        await asyncio.to_thread(folder.unlink)
        await asyncio.to_thread(aside.rename, folder)
        returned = time.monotonic()

        async def gone() -> bool | None:
            return None if await traces(rooms, job_id) else True

        await eventually(gone)
        assert time.monotonic() - returned < 5.0

    assert {key.split("/")[1] for key in await keys(rooms)} == {other}


async def test_many_deleted_jobs_are_worked_off_by_several_at_once(rooms: Rooms) -> None:
    jobs = [await rooms.submit() for _ in range(150)]
    for job_id in jobs[1:]:
        await rooms.desk.remove(job_id)

    async with at_work(rooms), at_work(rooms), at_work(rooms):

        async def gone() -> bool | None:
            return True if len(await keys(rooms)) == 1 else None

        await eventually(gone)

    assert await keys(rooms) == {clip_key(jobs[0])}


async def test_a_job_past_its_time_is_gone_with_its_blobs(rooms: Rooms) -> None:
    job_id, lasting = await rooms.submit(), await rooms.submit()
    async with rooms.worker(analysis_of(5)):
        await rooms.finished(job_id)
        await rooms.finished(lasting)
    await over(rooms, "expiry", job_id)

    async with at_work(rooms):

        async def gone() -> bool | None:
            return None if await traces(rooms, job_id) else True

        await eventually(gone)
    with pytest.raises(JobUnknown):
        await rooms.desk.find(job_id)
    assert (await rooms.desk.find(lasting)).state is JobState.SUCCEEDED
    assert {key.split("/")[1] for key in await keys(rooms)} == {lasting}


async def test_a_clip_past_its_time_is_gone_and_its_job_stays(rooms: Rooms) -> None:
    job_id, lasting = await rooms.submit(), await rooms.submit()
    async with rooms.worker(failing_with(ClipTruncated())):
        await rooms.finished(job_id)
        await rooms.finished(lasting)
    await over(rooms, "clip_expiry", job_id)

    async with at_work(rooms):

        async def gone() -> bool | None:
            return True if await keys(rooms) == {clip_key(lasting)} else None

        await eventually(gone)
    assert (await rooms.desk.find(job_id)).state is JobState.FAILED
    with pytest.raises(JobNotRetryable):
        await rooms.desk.retry(job_id)
    assert (await rooms.desk.retry(lasting)).state is JobState.QUEUED


async def test_only_old_blobs_that_no_job_wants_are_swept(rooms: Rooms, orphans: Orphans) -> None:
    waiting, finished = await rooms.submit(), await rooms.submit()
    await over(rooms, "waiting:bulk:anyone", finished)  # the first to be taken
    claim = await rooms.claim()
    assert claim.job_id == finished
    await rooms.store.put(result_key(finished, 1, "json"), chunks_of(b"{}"))
    await rooms.ledger.succeed(claim, frames=1, result_bytes=2)
    stranger, fresh = new_job_id(), new_job_id()
    gone = {
        await leave(rooms, clip_key(stranger)),
        await leave(rooms, result_key(stranger, 1, "csv")),
        await leave(rooms, result_key(finished, 2, "csv")),
        await leave(rooms, "ready/0123"),
    }
    kept = {
        await leave(rooms, clip_key(waiting)),
        await leave(rooms, clip_key(finished)),
        await leave(rooms, result_key(waiting, 1, "csv")),
        await leave(rooms, result_key(finished, 1, "json")),
        await leave(rooms, clip_key(fresh), age_seconds=0),
        await leave(rooms, "clips/somebody's own file"),
    }

    assert await orphans.sweep() == 0  # each is doubted first
    assert await keys(rooms) == gone | kept
    assert await orphans.sweep() == len(gone)
    assert await keys(rooms) == kept
    assert await orphans.sweep() == 0


async def test_a_clip_whose_job_comes_late_is_not_lost(rooms: Rooms, orphans: Orphans) -> None:
    job_id = await rooms.submit()
    late = await leave(rooms, clip_key(new_job_id()))  # as old as the begin of its slow upload

    assert await orphans.sweep() == 0
    record = await rooms.desk.find(job_id)
    await rooms.desk.submit(replace(record, id=late.removeprefix("clips/")))

    assert await orphans.sweep() == 0
    assert await orphans.sweep() == 0
    assert late in await keys(rooms)


@pytest.mark.parametrize("lost", ["everything", "another queue"])
async def test_a_queue_that_is_not_the_stores_sweeps_nothing(
    rooms: Rooms, upkeep: Upkeep, orphans: Orphans, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    job_id = await rooms.submit()
    await leave(rooms, clip_key(job_id))
    settings = rooms.settings
    if lost == "everything":
        async with connect(settings.redis_url) as redis:
            names = [name async for name in redis.scan_iter(f"{settings.queue_name}:*")]
            await redis.delete(*names)
    else:
        settings = settings.model_copy(update={"queue_name": f"test-{uuid4().hex}"})
        async with Upkeep.open(settings) as theirs:
            await theirs.pair_up("theirs")

    async with Upkeep.open(settings) as present:
        misled = Orphans(present, rooms.store, settings)
        for _ in range(3):
            assert await misled.sweep() == 0

    assert await keys(rooms) == {clip_key(job_id)}
    assert len([line for line in caplog.messages if "belongs to another queue" in line]) == 3


async def test_a_queue_that_knows_the_lesser_part_sweeps_nothing(
    rooms: Rooms, orphans: Orphans, caplog: pytest.LogCaptureFixture
) -> None:
    await leave(rooms, clip_key(await rooms.submit()))
    for _ in range(101):
        await leave(rooms, clip_key(new_job_id()))

    for _ in range(3):
        assert await orphans.sweep() == 0

    assert len(await keys(rooms)) == 102
    assert "of 102 jobs with blobs the queue knows 1 only" in caplog.text


async def test_nothing_is_swept_while_redis_is_away(rooms: Rooms, orphans: Orphans) -> None:
    await leave(rooms, clip_key(new_job_id()))
    settings = rooms.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with Upkeep.open(settings) as away:
        misled = Orphans(away, rooms.store, settings)
        for _ in range(2):
            with pytest.raises(QueueUnavailable):
                await misled.sweep()

    assert len(await keys(rooms)) == 1


async def test_a_bucket_is_swept_like_a_folder(
    settings: Settings, rooms: Rooms, bucket_server: BucketServer, bucket_credentials: None
) -> None:
    named = bucket_server.settings(uuid4().hex)
    settings = settings.model_copy(update=named | {"sweep_grace_seconds": 0.0})
    there = replace(rooms, store=open_store(settings), settings=settings)
    job_id, removed = await there.submit(), await there.submit()
    await there.store.put(clip_key(new_job_id()), chunks_of(b"left"))
    await there.desk.remove(removed)

    async with at_work(there, sweep_seconds=0.2):

        async def swept() -> bool | None:
            return True if await keys(there) == {clip_key(job_id)} else None

        await eventually(swept)


async def test_a_caretaker_ends_when_it_is_told_to_whatever_it_is_doing(rooms: Rooms) -> None:
    steps = random.Random(0)
    for _ in range(60):
        async with Upkeep.open(rooms.settings) as upkeep:
            caretaker = Caretaker(upkeep, rooms.store, rooms.settings)
            working = asyncio.create_task(caretaker.run())
            for _ in range(steps.randrange(60)):
                await asyncio.sleep(0)
            working.cancel()
            ended, _ = await asyncio.wait([working], timeout=20)
            assert ended


async def test_uploads_live_through_sweeps_without_any_grace(rooms: Rooms) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(600_000)
        await release.wait()
        yield b"end"

    job_id = new_job_id()
    async with at_work(rooms, sweep_seconds=0.1, sweep_grace_seconds=0.0):
        putting = asyncio.create_task(rooms.store.put(clip_key(job_id), slow()))
        await asyncio.sleep(1.0)
        release.set()
        assert await putting == 600_003
