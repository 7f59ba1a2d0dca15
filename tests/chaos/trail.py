"""What Redis and the store tell of the jobs of a run, read when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from redis import Redis

from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An entry of a job's stream. moment: seconds since the epoch, by the clock of Redis."""

    moment: float
    state: str
    attempt: int
    worker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A worker's hold on a job. ended: when the job went on to something else, if it did."""

    job_id: str
    number: int
    worker: str | None
    started: float
    ended: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """A job as Redis and the store have it.

    events: changes of its state, in order. results: attempts whose result files are there.
    """

    job_id: str
    record: Mapping[str, str]
    events: Sequence[Event]
    results: frozenset[int]

    def publications(self) -> int:
        """How often a result was published."""
        return sum(event.state == "succeeded" for event in self.events)

    def unpublished(self) -> frozenset[int]:
        """Attempts whose result files stayed although they are not the job's result."""
        published = self.record.get("published")
        return self.results - ({int(published)} if published else set())

    def attempts(self) -> list[Attempt]:
        """Every attempt, in order."""
        return list(_attempts(self.job_id, self.events))


def _attempts(job_id: str, events: Sequence[Event]) -> Iterator[Attempt]:
    moments = [*events, None]
    for event, after in pairwise(moments):
        if event is not None and event.state == "running":
            yield Attempt(
                job_id=job_id,
                number=event.attempt,
                worker=event.worker,
                started=event.moment,
                ended=None if after is None else after.moment,
            )


def read_trails(settings: Settings) -> dict[str, Trail]:
    """Every job that Redis knows, by its id."""
    prefix = f"{settings.queue_name}:job:"
    with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
        ids = [str(key).removeprefix(prefix) for key in redis.scan_iter(f"{prefix}*", count=1000)]
        return {job_id: _read_trail(redis, settings, job_id) for job_id in ids}


def _read_trail(redis: Redis, settings: Settings, job_id: str) -> Trail:
    name = settings.queue_name
    entries = redis.xrange(f"{name}:events:{job_id}")
    return Trail(
        job_id=job_id,
        record=redis.hgetall(f"{name}:job:{job_id}"),
        events=tuple(
            _read_event(entry, fields) for entry, fields in entries if fields["kind"] == "state"
        ),
        results=_read_results(settings.store_dir / "results" / job_id),
    )


def _read_event(entry: str, fields: Mapping[str, str]) -> Event:
    return Event(
        moment=int(entry.partition("-")[0]) / 1000,
        state=fields["state"],
        attempt=int(fields.get("attempt", 0)),
        worker=fields.get("worker"),
    )


def _read_results(folder: Path) -> frozenset[int]:
    names = (path.name.partition(".")[0] for path in folder.glob("*"))
    return frozenset(int(name) for name in names if name.isdecimal())
