"""What is due is deleted, and a caretaker disturbs nobody and ends when told to."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.blobstore import open_store
from service.errors import ClipTruncated, JobNotRetryable, JobUnknown
from service.jobs.cleanup.janitor import Janitor
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import JobState, clip_key, new_job_id
from service.settings import Settings
from tests.integration.bucket_server import BucketServer
from tests.integration.cleanup import find_job_traces, list_blob_keys, make_due, running_janitor
from tests.integration.fakes import iterate_chunks, make_failing_analysis, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually


async def test_a_deleted_job_leaves_nothing_though_the_store_was_away(env: JobEnvironment) -> None:
    job_id, other = await env.submit(), await env.submit()
    async with env.running_worker(make_fake_analysis(5)):
        await env.wait_for_end(job_id)
        await env.wait_for_end(other)
    assert len(await find_job_traces(env, job_id)) >= 5
    folder = env.settings.store_dir
    aside = folder.with_name("aside")

    await asyncio.to_thread(folder.rename, aside)
    await asyncio.to_thread(folder.write_text, "no folder")
    async with running_janitor(env):
        await env.queue.remove(job_id)
        await asyncio.sleep(1.5)
        await asyncio.to_thread(folder.unlink)
        await asyncio.to_thread(aside.rename, folder)
        returned = time.monotonic()

        async def gone() -> bool | None:
            return None if await find_job_traces(env, job_id) else True

        await eventually(gone)
        assert time.monotonic() - returned < 5.0

    assert {key.split("/")[1] for key in await list_blob_keys(env)} == {other}


async def test_several_janitors_share_many_deleted_jobs(env: JobEnvironment) -> None:
    jobs = [await env.submit() for _ in range(150)]
    for job_id in jobs[1:]:
        await env.queue.remove(job_id)

    async with running_janitor(env), running_janitor(env), running_janitor(env):

        async def gone() -> bool | None:
            return True if len(await list_blob_keys(env)) == 1 else None

        await eventually(gone)

    assert await list_blob_keys(env) == {clip_key(jobs[0])}


async def test_an_expired_job_is_removed_with_its_blobs(env: JobEnvironment) -> None:
    job_id, lasting = await env.submit(), await env.submit()
    async with env.running_worker(make_fake_analysis(5)):
        await env.wait_for_end(job_id)
        await env.wait_for_end(lasting)
    await make_due(env, "expiry", job_id)

    async with running_janitor(env):

        async def gone() -> bool | None:
            return None if await find_job_traces(env, job_id) else True

        await eventually(gone)
    with pytest.raises(JobUnknown):
        await env.queue.find(job_id)
    assert (await env.queue.find(lasting)).state is JobState.SUCCEEDED
    assert {key.split("/")[1] for key in await list_blob_keys(env)} == {lasting}


async def test_an_expired_clip_is_removed_and_its_job_stays(env: JobEnvironment) -> None:
    job_id, lasting = await env.submit(), await env.submit()
    async with env.running_worker(make_failing_analysis(ClipTruncated())):
        await env.wait_for_end(job_id)
        await env.wait_for_end(lasting)
    await make_due(env, "clip_expiry", job_id)

    async with running_janitor(env):

        async def gone() -> bool | None:
            return True if await list_blob_keys(env) == {clip_key(lasting)} else None

        await eventually(gone)
    assert (await env.queue.find(job_id)).state is JobState.FAILED
    with pytest.raises(JobNotRetryable):
        await env.queue.retry(job_id)
    assert (await env.queue.retry(lasting)).state is JobState.QUEUED


async def test_a_bucket_is_swept_like_a_folder(
    settings: Settings, env: JobEnvironment, bucket_server: BucketServer, bucket_credentials: None
) -> None:
    named = bucket_server.settings(uuid4().hex)
    settings = settings.model_copy(update=named | {"orphan_grace_seconds": 0.0})
    there = replace(env, store=open_store(settings), settings=settings)
    job_id, removed = await there.submit(), await there.submit()
    await there.store.put(clip_key(new_job_id()), iterate_chunks(b"left"))
    await there.queue.remove(removed)

    async with running_janitor(there, orphan_sweep_seconds=0.2):

        async def swept() -> bool | None:
            return True if await list_blob_keys(there) == {clip_key(job_id)} else None

        await eventually(swept)


async def test_a_janitor_can_be_cancelled_at_any_point(env: JobEnvironment) -> None:
    steps = random.Random(0)
    for _ in range(60):
        async with QueueMaintenance.open(env.settings) as upkeep:
            caretaker = Janitor(upkeep, env.store, env.settings)
            working = asyncio.create_task(caretaker.run())
            for _ in range(steps.randrange(60)):
                await asyncio.sleep(0)
            working.cancel()
            ended, _ = await asyncio.wait([working], timeout=20)
            assert ended


async def test_uploads_survive_sweeps_without_a_grace_period(env: JobEnvironment) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(600_000)
        await release.wait()
        yield b"end"

    job_id = new_job_id()
    async with running_janitor(env, orphan_sweep_seconds=0.1, orphan_grace_seconds=0.0):
        putting = asyncio.create_task(env.store.put(clip_key(job_id), slow()))
        await asyncio.sleep(1.0)
        release.set()
        assert await putting == 600_003
