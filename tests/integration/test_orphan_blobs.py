"""Tests of the orphan sweep: only old orphans are deleted, none if the queue has lost data."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import QueueUnavailable
from service.jobs.cleanup.orphan_blobs import OrphanSweeper
from service.jobs.queue.database import QueueMaintenance
from service.jobs.record import clip_key, new_job_id, result_key
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.cleanup import list_blob_keys, make_due, put_old_blob
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import JobEnvironment
from tests.integration.redis_access import list_keys
from tests.integration.servers import free_port


@pytest.fixture
async def maintenance(settings: Settings) -> AsyncGenerator[QueueMaintenance]:
    async with QueueMaintenance.open(settings) as maintenance:
        yield maintenance


@pytest.fixture
async def sweeper(maintenance: QueueMaintenance, env: JobEnvironment) -> OrphanSweeper:
    """Sweeper of a store and a queue that are a pair already."""
    sweeper = OrphanSweeper(maintenance, env.store, env.settings)
    assert await sweeper.sweep() == 0
    return sweeper


async def test_only_old_orphans_are_swept(env: JobEnvironment, sweeper: OrphanSweeper) -> None:
    waiting, finished = await env.submit(), await env.submit()
    await make_due(env, "waiting:bulk:anyone", finished)  # the first to be claimed
    claim = await env.claim()
    assert claim.job_id == finished
    await env.store.put(result_key(finished, 1, "json"), iterate_chunks(b"{}"))
    await env.leases.succeed(claim, frames=1, result_bytes=2)
    unknown, fresh = new_job_id(), new_job_id()
    orphans = {
        await put_old_blob(env, clip_key(unknown)),
        await put_old_blob(env, result_key(unknown, 1, "csv")),
        await put_old_blob(env, result_key(finished, 2, "csv")),
        await put_old_blob(env, "ready/0123"),
    }
    others = {
        await put_old_blob(env, clip_key(waiting)),
        await put_old_blob(env, clip_key(finished)),
        await put_old_blob(env, result_key(waiting, 1, "csv")),
        await put_old_blob(env, result_key(finished, 1, "json")),
        await put_old_blob(env, clip_key(fresh), age_seconds=0),
        await put_old_blob(env, "clips/another file"),
    }

    assert await sweeper.sweep() == 0  # the first sweep only marks them
    assert await list_blob_keys(env) == orphans | others
    assert await sweeper.sweep() == len(orphans)
    assert await list_blob_keys(env) == others
    assert await sweeper.sweep() == 0


async def test_a_clip_is_not_deleted_before_its_job_is_submitted(
    env: JobEnvironment, sweeper: OrphanSweeper
) -> None:
    job_id = await env.submit()
    late = await put_old_blob(env, clip_key(new_job_id()))  # dated by the start of a slow upload

    assert await sweeper.sweep() == 0
    record = await env.queue.find(job_id)
    await env.queue.submit(replace(record, id=late.removeprefix("clips/")))

    assert await sweeper.sweep() == 0
    assert await sweeper.sweep() == 0
    assert late in await list_blob_keys(env)


@pytest.mark.parametrize("lost", ["everything", "another queue"])
async def test_nothing_is_swept_with_a_queue_not_paired_with_the_store(
    env: JobEnvironment,
    maintenance: QueueMaintenance,
    sweeper: OrphanSweeper,
    caplog: pytest.LogCaptureFixture,
    lost: str,
) -> None:
    job_id = await env.submit()
    await put_old_blob(env, clip_key(job_id))
    settings = env.settings
    if lost == "everything":
        async with connect_redis(settings.redis_url) as redis:
            await redis.delete(*await list_keys(redis, env.key("")))
    else:
        settings = settings.model_copy(update={"queue_name": f"test-{uuid4().hex}"})
        async with QueueMaintenance.open(settings) as other:
            await other.claim_pairing_mark("other")

    async with QueueMaintenance.open(settings) as current:
        unpaired = OrphanSweeper(current, env.store, settings)
        for _ in range(3):
            assert await unpaired.sweep() == 0

    assert await list_blob_keys(env) == {clip_key(job_id)}
    assert len([line for line in caplog.messages if "belongs to another queue" in line]) == 3


async def test_nothing_is_swept_if_most_blobs_are_unknown_to_the_queue(
    env: JobEnvironment, sweeper: OrphanSweeper, caplog: pytest.LogCaptureFixture
) -> None:
    await put_old_blob(env, clip_key(await env.submit()))
    for _ in range(101):
        await put_old_blob(env, clip_key(new_job_id()))

    for _ in range(3):
        assert await sweeper.sweep() == 0

    assert len(await list_blob_keys(env)) == 102
    assert "of 102 jobs with blobs the queue knows 1 only" in caplog.text


async def test_nothing_is_swept_while_redis_is_unavailable(
    env: JobEnvironment, sweeper: OrphanSweeper
) -> None:
    await put_old_blob(env, clip_key(new_job_id()))
    settings = env.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with QueueMaintenance.open(settings) as unavailable:
        sweeper = OrphanSweeper(unavailable, env.store, settings)
        for _ in range(2):
            with pytest.raises(QueueUnavailable):
                await sweeper.sweep()

    assert len(await list_blob_keys(env)) == 1
