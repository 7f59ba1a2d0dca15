"""Histories of the jobs of a run, read from Redis and the store after its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

from redis import Redis

from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """State event of a job. epoch_seconds: by the clock of Redis."""

    epoch_seconds: float
    state: str
    attempt: int
    worker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Attempt at a job. ended: time of the next state event, if there is one."""

    job_id: str
    number: int
    worker: str | None
    started: float
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHistory:
    """Record, events and results of a job.

    events: changes of its state, in order. results: attempts whose result files exist.
    """

    job_id: str
    record: Mapping[str, str]
    events: Sequence[StateChange]
    results: frozenset[int]

    def count_publications(self) -> int:
        """Return how often a result was published."""
        return sum(event.state == "succeeded" for event in self.events)

    def unpublished_attempts(self) -> frozenset[int]:
        """Return attempts whose result files exist but were not published."""
        published = self.record.get("published")
        return self.results - ({int(published)} if published else set())

    def list_attempts(self) -> list[Attempt]:
        """List all attempts, in order."""
        return list(_iterate_attempts(self.job_id, self.events))


def _iterate_attempts(job_id: str, events: Sequence[StateChange]) -> Iterator[Attempt]:
    for event, following in pairwise([*events, None]):
        if event is not None and event.state == "running":
            yield Attempt(
                job_id=job_id,
                number=event.attempt,
                worker=event.worker,
                started=event.epoch_seconds,
                ended=None if following is None else following.epoch_seconds,
            )


def read_histories(settings: Settings) -> dict[str, JobHistory]:
    """Read the history of every job in Redis, by its id."""
    prefix = f"{settings.queue_name}:job:"
    url = settings.redis_url
    with Redis.from_url(url, decode_responses=True) as redis:  # pyright: ignore[reportUnknownMemberType]  # untyped options
        keys = redis.keys(f"{prefix}*")  # pyright: ignore[reportUnknownMemberType]  # untyped options
        ids = [str(key).removeprefix(prefix) for key in keys]
        return {job_id: _read_history(redis, settings, job_id) for job_id in ids}


def _read_history(redis: Redis, settings: Settings, job_id: str) -> JobHistory:
    name = settings.queue_name
    record = cast("dict[str, str]", redis.hgetall(f"{name}:job:{job_id}"))
    entries = cast("list[tuple[str, dict[str, str]]]", redis.xrange(f"{name}:events:{job_id}"))
    return JobHistory(
        job_id=job_id,
        record=record,
        events=tuple(
            _read_state_change(entry, fields)
            for entry, fields in entries
            if fields["kind"] == "state"
        ),
        results=_list_result_attempts(settings.store_dir / "results" / job_id),
    )


def _read_state_change(entry: str, fields: Mapping[str, str]) -> StateChange:
    return StateChange(
        epoch_seconds=int(entry.partition("-")[0]) / 1000,
        state=fields["state"],
        attempt=int(fields.get("attempt", 0)),
        worker=fields.get("worker"),
    )


def _list_result_attempts(folder: Path) -> frozenset[int]:
    names = (path.name.partition(".")[0] for path in folder.glob("*"))
    return frozenset(int(name) for name in names if name.isdecimal())
