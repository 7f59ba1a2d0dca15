"""Property test: random operations keep records, schedule and indices of the queue consistent."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from service.domain.options import Priority
from service.errors import CircumplexError, ClipTooLong
from service.jobs.queue.database import ALL_OWNERS, PACKAGE, PRELUDE, SCRIPTS, QueueMaintenance
from service.jobs.queue.leases import AttemptSuperseded, Claim
from service.jobs.record import JobState
from service.redis_client.client import Redis, connect_redis, list_members, load_script
from tests.integration.job_environment import JobEnvironment
from tests.integration.redis_access import list_keys, read_hash

STEPS = 200
OWNERS = ("a", "b", "c")
ADDRESSES = (None, None, "address:192.0.2.1", "address:2001:db8::/64")
SORTED_SETS = {
    "clip_expiry",
    "delayed",
    "expiry",
    "index",
    "leases",
    "owners",
    "running",
    "waiting",
}


class RandomOperations:
    """Random operations of a gateway, of workers that may be lost, and of a janitor."""

    def __init__(
        self, env: JobEnvironment, maintenance: QueueMaintenance, redis: Redis, seed: int
    ) -> None:
        self.env = env
        self.maintenance = maintenance
        self.redis = redis
        self.rng = random.Random(seed)
        self.jobs: list[str] = ["unknown"]
        self.claims: list[Claim] = []

    def run_one(self) -> Awaitable[object]:
        queue, leases, rng = self.env.queue, self.env.leases, self.rng
        job_id = rng.choice(self.jobs[-12:])
        steps: list[tuple[int, Callable[[], Awaitable[object]]]] = [
            (6, self.submit),
            (6, self.claim),
            (1, lambda: queue.cancel(job_id)),
            (1, lambda: queue.retry(job_id)),
            (1, lambda: queue.remove(job_id)),
            (1, self.maintenance.expire_jobs),
            (1, self.maintenance.list_expired_clips),
            (1, self.make_one_due),
        ]
        if self.claims:
            claim = rng.choice(self.claims[-6:])
            steps += [
                (2, lambda: leases.renew(claim, rng.randrange(9), 9)),
                (2, lambda: leases.succeed(claim, frames=9, result_bytes=rng.randrange(99))),
                (1, lambda: leases.fail(claim, ClipTooLong())),
                (1, lambda: leases.defer(claim, seconds=60.0, deferrals=1)),
                (1, lambda: leases.release(claim)),
                (2, lambda: self.lose_worker(claim)),
            ]
        weights, calls = zip(*steps, strict=True)
        return rng.choices(calls, weights)[0]()

    async def submit(self) -> None:
        priority = self.rng.choice(tuple(Priority))
        owner, client_id = self.rng.choice(OWNERS), self.rng.choice(ADDRESSES)
        self.jobs.append(await self.env.submit(owner, priority, client_id=client_id))

    async def claim(self) -> None:
        only_newcomers = self.rng.random() < 0.3
        claimed = await self.env.leases.claim(only_newcomers=only_newcomers)
        if claimed.claim is not None:
            self.claims.append(claimed.claim)

    async def lose_worker(self, claim: Claim) -> None:
        await self.redis.zadd(self.env.key("leases"), {claim.job_id: 1}, xx=True)

    async def make_one_due(self) -> None:
        """Make a deferred job, an expiring job and an expiring clip due."""
        for name in ("delayed", "expiry", "clip_expiry"):
            for job_id in await list_members(self.redis, self.env.key(name), 0, 0):
                await self.redis.zadd(self.env.key(name), {job_id: 1.0})


@pytest.mark.parametrize("seed", range(2))
async def test_queue_indices_stay_consistent(env: JobEnvironment, seed: int) -> None:
    async with (
        QueueMaintenance.open(env.settings) as maintenance,
        connect_redis(env.settings.redis_url) as redis,
    ):
        operations = RandomOperations(env, maintenance, redis, seed)
        seen: set[str] = set()
        for _ in range(STEPS):
            try:
                await operations.run_one()
            except (CircumplexError, AttemptSuperseded) as refusal:
                seen.add(type(refusal).__name__)
            await _QueueState.check(redis, env.key(""))
    assert {"JobUnknown", "AttemptSuperseded"} <= seen


@dataclass(frozen=True, kw_only=True)
class _QueueState:
    """Everything that a queue stores: records by job id, sorted sets by name, stored bytes."""

    jobs: dict[str, dict[str, str]]
    members: dict[str, set[str]]
    stored_bytes: dict[str, int]

    @classmethod
    async def read(cls, redis: Redis, prefix: str) -> _QueueState:
        names = [key.removeprefix(prefix) for key in await list_keys(redis, prefix)]
        sorted_sets = [name for name in names if name.partition(":")[0] in SORTED_SETS]
        stored = await read_hash(redis, f"{prefix}stored")
        return cls(
            jobs={
                name.removeprefix("job:"): await read_hash(redis, f"{prefix}{name}")
                for name in names
                if name.startswith("job:")
            },
            members={
                name: set(await list_members(redis, f"{prefix}{name}")) for name in sorted_sets
            },
            stored_bytes={owner: int(size) for owner, size in stored.items() if int(size)},
        )

    @classmethod
    async def check(cls, redis: Redis, prefix: str) -> None:
        state = await cls.read(redis, prefix)
        state.check_schedule()
        state.check_clients()
        state.check_indices()
        state.check_stored_bytes()

    def select(self, *states: JobState) -> set[str]:
        return {job_id for job_id, job in self.jobs.items() if job["state"] in states}

    def find(self, name: str) -> set[str]:
        return self.members.get(name, set())

    def starting_with(self, prefix: str) -> dict[str, set[str]]:
        return {name: ids for name, ids in self.members.items() if name.startswith(prefix)}

    def check_schedule(self) -> None:
        waiting = [job_id for ids in self.starting_with("waiting:").values() for job_id in ids]
        assert sorted([*waiting, *self.find("delayed")]) == sorted(self.select(JobState.QUEUED))
        assert self.find("leases") == self.select(JobState.RUNNING)
        ended = self.select(JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
        assert self.find("expiry") == ended
        assert self.find("clip_expiry") <= ended

    def check_clients(self) -> None:
        waiting: dict[str, set[str]] = defaultdict(set)
        for name, job_ids in self.starting_with("waiting:").items():
            _, priority, client = name.split(":", 2)
            waiting[priority].add(client)
            for job_id in job_ids:
                assert (self.jobs[job_id]["priority"], self.client_of(job_id)) == (priority, client)
        for priority in Priority:
            assert self.find(f"owners:{priority}") == waiting[priority]
        running: dict[str, set[str]] = defaultdict(set)
        for job_id in self.select(JobState.RUNNING):
            running[f"running:{self.client_of(job_id)}"].add(job_id)
        assert self.starting_with("running:") == running

    def client_of(self, job_id: str) -> str:
        job = self.jobs[job_id]
        return job.get("client_id", job["owner"])

    def check_indices(self) -> None:
        expected: dict[str, set[str]] = defaultdict(set)
        for job_id, job in self.jobs.items():
            for owner in _account_names(job):
                expected[f"index:{owner}"].add(job_id)
                expected[f"index:{owner}:{job['state']}"].add(job_id)
                if "error_code" in job:
                    expected[f"index:{owner}:{job['state']}:{job['error_code']}"].add(job_id)
        assert expected == self.starting_with("index:")

    def check_stored_bytes(self) -> None:
        expected: dict[str, int] = defaultdict(int)
        for job in self.jobs.values():
            clip_bytes = 0 if "clip_dropped" in job else int(job["clip_bytes"])
            for owner in _account_names(job):
                expected[owner] += clip_bytes + int(job["result_bytes"])
        assert {owner: size for owner, size in expected.items() if size} == self.stored_bytes


def _account_names(job: dict[str, str]) -> set[str]:
    """Names under which a job is indexed and its bytes are counted."""
    return {job["owner"], job.get("client_id", job["owner"]), ALL_OWNERS}


def test_scripts_and_records_use_the_same_names() -> None:
    sources = [load_script(PACKAGE, name) for name in (PRELUDE, *SCRIPTS)]
    source = "\n".join(sources)
    priorities = re.search(r"local PRIORITIES = {(.*?)}", source)
    assert priorities
    states = re.findall(r"state [=~]= '(\w+)'|(?:set_state|finish)\(id, '(\w+)'", source)

    assert re.findall(r"'(\w+)'", priorities[1]) == list(Priority)
    assert {name for pair in states for name in pair if name} <= set(JobState)
    assert len(states) > len(JobState)
