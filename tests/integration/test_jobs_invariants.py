"""Whatever is done to jobs in whatever order, the queue's books agree."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from service.domain.options import Priority
from service.errors import CircumplexError, ClipTooLong
from service.jobs.queue.leases import AttemptSuperseded, Claim
from service.jobs.queue.maintenance import QueueMaintenance
from service.jobs.record import JobState
from service.redis_client.client import connect_redis
from service.redis_client.scripts import load_script
from tests.integration.job_environment import JobEnvironment

STEPS = 200
OWNERS = ("a", "b", "c")


class RandomOperations:
    """Random steps by a gateway, workers that die, and upkeep; each may come too late."""

    def __init__(
        self, rooms: JobEnvironment, upkeep: QueueMaintenance, redis: Redis, seed: int
    ) -> None:
        self.rooms = rooms
        self.upkeep = upkeep
        self.redis = redis
        self.rng = random.Random(seed)
        self.jobs: list[str] = ["nobody"]
        self.claims: list[Claim] = []

    def run_one(self) -> Awaitable[object]:
        desk, ledger, chance = self.rooms.queue, self.rooms.leases, self.rng
        job_id = chance.choice(self.jobs[-12:])
        steps: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (6, self.submit),
            (6, self.claim),
            (1, lambda: desk.cancel(job_id)),
            (1, lambda: desk.retry(job_id)),
            (1, lambda: desk.remove(job_id)),
            (1, self.upkeep.expire_jobs),
            (1, self.upkeep.list_expired_clips),
            (1, self.make_one_due),
        ]
        if self.claims:
            claim = chance.choice(self.claims[-6:])
            steps += [
                (2, lambda: ledger.renew(claim, chance.randrange(9), 9)),
                (2, lambda: ledger.succeed(claim, frames=9, result_bytes=chance.randrange(99))),
                (1, lambda: ledger.fail(claim, ClipTooLong())),
                (1, lambda: ledger.defer(claim, seconds=60.0, deferrals=1)),
                (1, lambda: ledger.release(claim)),
                (2, lambda: self.lose_worker(claim)),
            ]
        weights, calls = zip(*steps, strict=True)
        return chance.choices(calls, weights)[0]()

    async def submit(self) -> None:
        priority = self.rng.choice(tuple(Priority))
        self.jobs.append(await self.rooms.submit(self.rng.choice(OWNERS), priority))

    async def claim(self) -> None:
        claimed = await self.rooms.leases.claim()
        if claimed.claim is not None:
            self.claims.append(claimed.claim)

    async def lose_worker(self, claim: Claim) -> None:
        leases = f"{self.rooms.settings.queue_name}:leases"
        await self.redis.zadd(leases, {claim.job_id: 1}, xx=True)

    async def make_one_due(self) -> None:
        """Some time passes for one that was put off, or whose end was long ago."""
        for book in ("delayed", "expiry", "clip_expiry"):
            name = f"{self.rooms.settings.queue_name}:{book}"
            for job_id in await self.redis.zrange(name, 0, 0):
                await self.redis.zadd(name, {job_id: 1.0})


@pytest.mark.parametrize("seed", range(2))
async def test_queue_indices_stay_consistent(env: JobEnvironment, seed: int) -> None:
    async with (
        QueueMaintenance.open(env.settings) as upkeep,
        connect_redis(env.settings.redis_url) as redis,
    ):
        play = RandomOperations(env, upkeep, redis, seed)
        seen: set[str] = set()
        for _ in range(STEPS):
            try:
                await play.run_one()
            except (CircumplexError, AttemptSuperseded) as refusal:
                seen.add(type(refusal).__name__)
            except AssertionError:
                seen.add("nothing to lose")
            await _check_indices(redis, env.settings.queue_name)
    assert {"JobUnknown", "AttemptSuperseded"} <= seen


async def _check_indices(redis: Redis, prefix: str) -> None:
    names = [name async for name in redis.scan_iter(f"{prefix}:*", count=1000)]
    books = {name.removeprefix(f"{prefix}:") for name in names}
    jobs = {
        book.removeprefix("job:"): await redis.hgetall(f"{prefix}:{book}")
        for book in books
        if book.startswith("job:")
    }

    async def members(book: str) -> set[str]:
        return set(await redis.zrange(f"{prefix}:{book}", 0, -1))

    def those(state: JobState) -> set[str]:
        return {job_id for job_id, job in jobs.items() if job["state"] == state}

    waiting = {book: await members(book) for book in books if book.startswith("waiting:")}
    in_rooms = [job_id for room in waiting.values() for job_id in room]
    delayed = await members("delayed")
    assert sorted([*in_rooms, *delayed]) == sorted(those(JobState.QUEUED))
    assert await members("leases") == those(JobState.RUNNING)
    ended = those(JobState.SUCCEEDED) | those(JobState.FAILED) | those(JobState.CANCELLED)
    assert await members("expiry") == ended
    assert await members("clip_expiry") <= ended

    turns: dict[str, set[str]] = defaultdict(set)
    for book, room in waiting.items():
        _, priority, owner = book.split(":")
        turns[priority].add(owner)
        for job_id in room:
            assert (jobs[job_id]["priority"], jobs[job_id]["owner"]) == (priority, owner)
    for priority in Priority:
        assert await members(f"turns:{priority}") == turns[priority]

    listed: dict[str, set[str]] = defaultdict(set)
    for job_id, job in jobs.items():
        for owner in (job["owner"], "*"):
            listed[f"index:{owner}"].add(job_id)
            listed[f"index:{owner}:{job['state']}"].add(job_id)
            if "error_code" in job:
                listed[f"index:{owner}:{job['state']}:{job['error_code']}"].add(job_id)
    assert listed == {b: await members(b) for b in books if b.startswith("index:")}

    stored: dict[str, int] = defaultdict(int)
    for job in jobs.values():
        kept = 0 if "clip_dropped" in job else int(job["clip_bytes"])
        for owner in (job["owner"], "*"):
            stored[owner] += kept + int(job["result_bytes"])
    found = await redis.hgetall(f"{prefix}:stored")
    assert dict(stored) == {owner: int(size) for owner, size in found.items() if int(size)}


def test_scripts_and_records_use_the_same_names() -> None:
    source = load_script("claim")

    def names(table: str) -> list[str]:
        found = re.search(rf"local {table} = {{(.*?)}}", source)
        assert found
        return re.findall(r"'(\w+)'", found[1])

    assert names("PRIORITIES") == list(Priority)
    assert names("STATES") == list(JobState)
