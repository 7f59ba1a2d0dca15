"""What is due is deleted, and a caretaker disturbs nobody and ends when told to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import ClipTruncated, JobNotRetryable, JobUnknown
from service.jobs.caretaker import Caretaker
from service.jobs.record import JobState, clip_key, new_job_id
from service.jobs.upkeep import Upkeep
from service.settings import Settings
from service.store import open_store
from tests.integration.buckets import BucketServer
from tests.integration.pretence import analysis_of, chunks_of, failing_with
from tests.integration.rooms import Rooms, eventually
from tests.integration.tending import at_work, keys, over, traces


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


async def test_a_bucket_is_swept_like_a_folder(
    settings: Settings, rooms: Rooms, bucket_server: BucketServer, bucket_credentials: None
) -> None:
    named = bucket_server.settings(uuid4().hex)
    settings = settings.model_copy(update=named | {"orphan_grace_seconds": 0.0})
    there = replace(rooms, store=open_store(settings), settings=settings)
    job_id, removed = await there.submit(), await there.submit()
    await there.store.put(clip_key(new_job_id()), chunks_of(b"left"))
    await there.desk.remove(removed)

    async with at_work(there, orphan_sweep_seconds=0.2):

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
    async with at_work(rooms, orphan_sweep_seconds=0.1, orphan_grace_seconds=0.0):
        putting = asyncio.create_task(rooms.store.put(clip_key(job_id), slow()))
        await asyncio.sleep(1.0)
        release.set()
        assert await putting == 600_003
