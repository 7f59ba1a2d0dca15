"""Tests of the janitor: expired jobs and clips, outages, concurrency and cancellation."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.blobstore import open_store
from service.errors import ClipTruncated, DecoderCrashed, JobNotRetryable, JobUnknown
from service.jobs.cleanup.janitor import Janitor
from service.jobs.queue.database import QueueMaintenance
from service.jobs.record import JobState, clip_key, new_job_id
from service.settings import Settings
from tests.integration.bucket_server import BucketServer
from tests.integration.cleanup import (
    find_job_traces,
    list_blob_keys,
    make_due,
    put_old_blob,
    running_janitor,
)
from tests.integration.fakes import iterate_chunks, make_failing_analysis, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually, until


async def test_a_removed_job_leaves_nothing_though_the_store_was_unavailable(
    env: JobEnvironment, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, other = await env.submit(), await env.submit()
    async with env.running_worker(make_fake_analysis(5)):
        await env.wait_for_end(job_id)
        await env.wait_for_end(other)
    assert len(await find_job_traces(env, job_id)) >= 5
    folder = env.settings.store_dir
    moved = folder.with_name("moved")

    await asyncio.to_thread(folder.rename, moved)
    await asyncio.to_thread(folder.write_text, "no folder")
    async with running_janitor(env):
        await env.queue.remove(job_id)
        await until(lambda: "cleanup is delayed" in caplog.text)
        await asyncio.to_thread(folder.unlink)
        await asyncio.to_thread(moved.rename, folder)
        returned = time.monotonic()

        async def is_cleaned() -> bool | None:
            return None if await find_job_traces(env, job_id) else True

        await eventually(is_cleaned)
        assert time.monotonic() - returned < 5.0

    assert {key.split("/")[1] for key in await list_blob_keys(env)} == {other}


async def test_several_janitors_share_many_deleted_jobs(env: JobEnvironment) -> None:
    jobs = [await env.submit() for _ in range(150)]
    for job_id in jobs[1:]:
        await env.queue.remove(job_id)

    async with running_janitor(env), running_janitor(env), running_janitor(env):

        async def is_cleaned() -> bool | None:
            return True if len(await list_blob_keys(env)) == 1 else None

        await eventually(is_cleaned)

    assert await list_blob_keys(env) == {clip_key(jobs[0])}


async def test_an_expired_job_is_removed_with_its_blobs(env: JobEnvironment) -> None:
    job_id, other_id = await env.submit(), await env.submit()
    async with env.running_worker(make_fake_analysis(5)):
        await env.wait_for_end(job_id)
        await env.wait_for_end(other_id)
    await make_due(env, "expiry", job_id)

    async with running_janitor(env):

        async def is_cleaned() -> bool | None:
            return None if await find_job_traces(env, job_id) else True

        await eventually(is_cleaned)
    with pytest.raises(JobUnknown):
        await env.queue.find(job_id)
    assert (await env.queue.find(other_id)).state is JobState.SUCCEEDED
    assert {key.split("/")[1] for key in await list_blob_keys(env)} == {other_id}


async def test_an_expired_clip_is_removed_and_its_job_stays(env: JobEnvironment) -> None:
    job_id, other_id = await env.submit(), await env.submit()
    async with env.running_worker(make_failing_analysis(DecoderCrashed())):
        await env.wait_for_end(job_id)
        await env.wait_for_end(other_id)
    await make_due(env, "clip_expiry", job_id)

    async with running_janitor(env):

        async def is_cleaned() -> bool | None:
            return True if await list_blob_keys(env) == {clip_key(other_id)} else None

        await eventually(is_cleaned)
    assert (await env.queue.find(job_id)).state is JobState.FAILED
    with pytest.raises(JobNotRetryable):
        await env.queue.retry(job_id)
    assert (await env.queue.retry(other_id)).state is JobState.QUEUED


async def test_a_bucket_is_swept_like_a_folder(
    settings: Settings, env: JobEnvironment, bucket_server: BucketServer, bucket_credentials: None
) -> None:
    changes = bucket_server.settings(uuid4().hex)
    settings = settings.model_copy(update=changes | {"orphan_grace_seconds": 0.0})
    bucket_env = replace(env, store=open_store(settings), settings=settings)
    job_id, removed = await bucket_env.submit(), await bucket_env.submit()
    await bucket_env.store.put(clip_key(new_job_id()), iterate_chunks(b"left"))
    await bucket_env.queue.remove(removed)

    async with running_janitor(bucket_env, orphan_sweep_seconds=0.2):

        async def is_cleaned() -> bool | None:
            return True if await list_blob_keys(bucket_env) == {clip_key(job_id)} else None

        await eventually(is_cleaned)


async def test_a_janitor_can_be_cancelled_at_any_point(env: JobEnvironment) -> None:
    steps = random.Random(0)
    for _ in range(60):
        async with QueueMaintenance.open(env.settings) as maintenance:
            janitor = Janitor(maintenance, env.store, env.settings)
            running = asyncio.create_task(janitor.run())
            for _ in range(steps.randrange(60)):
                await asyncio.sleep(0)
            running.cancel()
            ended, _ = await asyncio.wait([running], timeout=20)
            assert ended


async def test_uploads_survive_sweeps_without_a_grace_period(env: JobEnvironment) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(600_000)
        await release.wait()
        yield b"end"

    job_id = new_job_id()
    async with running_janitor(env, orphan_sweep_seconds=0.1, orphan_grace_seconds=0.0):
        upload = asyncio.create_task(env.store.put(clip_key(job_id), slow()))
        orphan = await put_old_blob(env, clip_key(new_job_id()))

        async def has_swept() -> bool | None:
            return orphan not in await list_blob_keys(env) or None

        await eventually(has_swept)
        release.set()
        assert await upload == 600_003


async def test_a_clip_that_can_never_be_analysed_is_deleted_at_once(env: JobEnvironment) -> None:
    refused = await env.submit()
    async with env.running_worker(make_failing_analysis(ClipTruncated())):
        await env.wait_for_end(refused)
    cancelled = await env.submit()
    await env.queue.cancel(cancelled)

    assert await env.queue.measure_stored_bytes() == len(b"clip")
    with pytest.raises(JobNotRetryable, match="no longer stored"):
        await env.queue.retry(refused)
    async with running_janitor(env):

        async def is_cleaned() -> bool | None:
            return True if await list_blob_keys(env) == {clip_key(cancelled)} else None

        await eventually(is_cleaned)
    record = await env.queue.find(refused)
    assert (record.state, record.error_code) == (JobState.FAILED, ClipTruncated.code)


async def test_the_clip_of_a_killed_janitor_is_deleted_by_the_next(env: JobEnvironment) -> None:
    """Between the end of the job and the deletion only the queue knows that the clip is due."""
    job_id = await env.submit()
    await env.leases.fail(await env.claim(), ClipTruncated())
    async with QueueMaintenance.open(env.settings) as maintenance:
        assert await maintenance.list_expired_clips() == [job_id]
    async with running_janitor(env):

        async def is_cleaned() -> bool | None:
            return None if await list_blob_keys(env) else True

        await eventually(is_cleaned)
    assert await env.queue.measure_stored_bytes() == 0
