"""Whose turn it is: priorities first, then fair shares, then the order of submission."""

from __future__ import annotations

from collections import Counter

from service.domain.choices import Priority
from service.jobs.connection import connect
from tests.integration.rooms import Rooms


async def _starts(rooms: Rooms, count: int, seconds: float = 60.0) -> list[str]:
    """The owners of the next jobs, each of which takes so long by the books.

    Work is charged by time: what the test itself takes must not weigh.
    """
    owners: list[str] = []
    for _ in range(count):
        claim = await rooms.claim()
        owners.append(claim.record.owner)
        await _started_earlier(rooms, claim.job_id, seconds)
        await rooms.ledger.succeed(claim, frames=1, result_bytes=0)
    return owners


async def test_an_owners_jobs_start_in_the_order_of_submission(rooms: Rooms) -> None:
    submitted = [await rooms.submit() for _ in range(5)]

    assert submitted == [(await rooms.claim()).job_id for _ in submitted]


async def test_interactive_work_comes_before_all_bulk_work(rooms: Rooms) -> None:
    bulk = [await rooms.submit("a"), await rooms.submit("b")]
    interactive = [await rooms.submit("a", Priority.INTERACTIVE) for _ in range(2)]

    started = [(await rooms.claim()).job_id for _ in range(4)]

    assert interactive == started[:2]
    assert sorted(bulk) == sorted(started[2:])


async def test_a_backlog_at_most_doubles_anothers_wait(rooms: Rooms) -> None:
    for _ in range(60):
        await rooms.submit("backlog")
    await _starts(rooms, 20)
    for _ in range(5):
        await rooms.submit("other")

    owners = await _starts(rooms, 11)

    assert Counter(owners)["other"] == 5


async def test_shares_are_of_work_and_not_of_jobs(rooms: Rooms) -> None:
    """A job of `long` takes forty seconds: thirty of a second each go before the next."""
    for _ in range(3):
        await rooms.submit("long")
    for _ in range(30):
        await rooms.submit("short")
    first = await rooms.claim()
    assert first.record.owner == "long"
    await _started_earlier(rooms, first.job_id, 40.0)
    await rooms.ledger.succeed(first, frames=1, result_bytes=0)

    assert await _starts(rooms, 30, seconds=1.0) == ["short"] * 30


async def _started_earlier(rooms: Rooms, job_id: str, seconds: float) -> None:
    async with connect(rooms.settings.redis_url) as redis:
        key = f"{rooms.settings.queue_name}:job:{job_id}"
        await redis.hincrbyfloat(key, "attempt_started_at", -seconds)


async def test_who_was_away_has_saved_up_nothing(rooms: Rooms) -> None:
    await rooms.submit("away")
    await _starts(rooms, 1)
    for _ in range(40):
        await rooms.submit("busy")
    await _starts(rooms, 20)
    for _ in range(20):
        await rooms.submit("away")

    assert 4 <= Counter(await _starts(rooms, 10))["away"] <= 6


async def test_a_job_handed_back_is_the_first_to_start_again(rooms: Rooms) -> None:
    first, second = await rooms.submit(), await rooms.submit()
    await rooms.ledger.hand_back(await rooms.claim())

    assert [first, second] == [(await rooms.claim()).job_id for _ in range(2)]


async def test_a_job_that_lost_its_worker_comes_before_all_that_wait(rooms: Rooms) -> None:
    lost = await rooms.submit()
    await rooms.lose(await rooms.claim())
    await rooms.submit("another", Priority.INTERACTIVE)

    assert (await rooms.claim()).job_id == lost


async def test_a_job_that_is_put_off_waits_for_its_time(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    await rooms.ledger.put_off(await rooms.claim(), seconds=60.0, deferrals=1)

    assert (await rooms.ledger.claim()).claim is None
    record = await rooms.desk.find(job_id)
    assert (record.deferrals, record.lost) == (1, 0)
    assert record.retry_at is not None

    async with connect(rooms.settings.redis_url) as redis:
        await redis.zadd(f"{rooms.settings.queue_name}:delayed", {job_id: 1})
    again = await rooms.claim()
    assert (again.job_id, again.attempt, again.record.retry_at) == (job_id, 2, None)
