"""What no job wants is deleted, and nothing else is, whatever the queue has lost."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from uuid import uuid4

import pytest

from service.errors import QueueUnavailable
from service.jobs.connection import connect
from service.jobs.orphans import Orphans
from service.jobs.record import clip_key, new_job_id, result_key
from service.jobs.upkeep import Upkeep
from service.settings import Settings
from tests.integration.pretence import chunks_of
from tests.integration.rooms import Rooms
from tests.integration.servers import free_port
from tests.integration.tending import keys, leave, over


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
