"""What no job wants is deleted, and nothing else is, whatever the queue has lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import QueueUnavailable
from service.jobs.cleanup.orphan_blobs import OrphanSweeper
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import clip_key, new_job_id, result_key
from service.redis_client.client import connect_redis
from service.settings import Settings
from tests.integration.cleanup import list_blob_keys, make_due, put_old_blob
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import free_port


@pytest.fixture
async def maintenance(settings: Settings) -> AsyncGenerator[QueueMaintenance]:
    async with QueueMaintenance.open(settings) as upkeep:
        yield upkeep


@pytest.fixture
async def sweeper(maintenance: QueueMaintenance, env: JobEnvironment) -> OrphanSweeper:
    """A search whose store and queue are a pair already."""
    orphans = OrphanSweeper(maintenance, env.store, env.settings)
    assert await orphans.sweep() == 0
    return orphans


async def test_only_old_orphans_are_swept(env: JobEnvironment, sweeper: OrphanSweeper) -> None:
    waiting, finished = await env.submit(), await env.submit()
    await make_due(env, "waiting:bulk:anyone", finished)  # the first to be taken
    claim = await env.claim()
    assert claim.job_id == finished
    await env.store.put(result_key(finished, 1, "json"), iterate_chunks(b"{}"))
    await env.leases.succeed(claim, frames=1, result_bytes=2)
    stranger, fresh = new_job_id(), new_job_id()
    gone = {
        await put_old_blob(env, clip_key(stranger)),
        await put_old_blob(env, result_key(stranger, 1, "csv")),
        await put_old_blob(env, result_key(finished, 2, "csv")),
        await put_old_blob(env, "ready/0123"),
    }
    kept = {
        await put_old_blob(env, clip_key(waiting)),
        await put_old_blob(env, clip_key(finished)),
        await put_old_blob(env, result_key(waiting, 1, "csv")),
        await put_old_blob(env, result_key(finished, 1, "json")),
        await put_old_blob(env, clip_key(fresh), age_seconds=0),
        await put_old_blob(env, "clips/somebody's own file"),
    }

    assert await sweeper.sweep() == 0  # each is doubted first
    assert await list_blob_keys(env) == gone | kept
    assert await sweeper.sweep() == len(gone)
    assert await list_blob_keys(env) == kept
    assert await sweeper.sweep() == 0


async def test_a_clip_whose_job_comes_late_is_not_lost(
    env: JobEnvironment, sweeper: OrphanSweeper
) -> None:
    job_id = await env.submit()
    late = await put_old_blob(env, clip_key(new_job_id()))  # as old as the begin of its slow upload

    assert await sweeper.sweep() == 0
    record = await env.queue.find(job_id)
    await env.queue.submit(replace(record, id=late.removeprefix("clips/")))

    assert await sweeper.sweep() == 0
    assert await sweeper.sweep() == 0
    assert late in await list_blob_keys(env)


@pytest.mark.parametrize("lost", ["everything", "another queue"])
async def test_an_unpaired_queue_sweeps_nothing(
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
            names = [name async for name in redis.scan_iter(f"{settings.queue_name}:*")]
            await redis.delete(*names)
    else:
        settings = settings.model_copy(update={"queue_name": f"test-{uuid4().hex}"})
        async with QueueMaintenance.open(settings) as theirs:
            await theirs.claim_pairing_mark("theirs")

    async with QueueMaintenance.open(settings) as present:
        misled = OrphanSweeper(present, env.store, settings)
        for _ in range(3):
            assert await misled.sweep() == 0

    assert await list_blob_keys(env) == {clip_key(job_id)}
    assert len([line for line in caplog.messages if "belongs to another queue" in line]) == 3


async def test_a_queue_that_knows_a_minority_of_blobs_sweeps_nothing(
    env: JobEnvironment, sweeper: OrphanSweeper, caplog: pytest.LogCaptureFixture
) -> None:
    await put_old_blob(env, clip_key(await env.submit()))
    for _ in range(101):
        await put_old_blob(env, clip_key(new_job_id()))

    for _ in range(3):
        assert await sweeper.sweep() == 0

    assert len(await list_blob_keys(env)) == 102
    assert "of 102 jobs with blobs the queue knows 1 only" in caplog.text


async def test_nothing_is_swept_while_redis_is_away(
    env: JobEnvironment, sweeper: OrphanSweeper
) -> None:
    await put_old_blob(env, clip_key(new_job_id()))
    settings = env.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with QueueMaintenance.open(settings) as away:
        misled = OrphanSweeper(away, env.store, settings)
        for _ in range(2):
            with pytest.raises(QueueUnavailable):
                await misled.sweep()

    assert len(await list_blob_keys(env)) == 1
