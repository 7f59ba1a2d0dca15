"""What Redis and the store tell of the jobs of a run, read when it is over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from redis import Redis

from service.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """An entry of a job's stream. moment: seconds since the epoch, by the clock of Redis."""

    epoch_seconds: float
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
class JobHistory:
    """A job as Redis and the store have it.

    events: changes of its state, in order. results: attempts whose result files are there.
    """

    job_id: str
    record: Mapping[str, str]
    events: Sequence[StateChange]
    results: frozenset[int]

    def count_publications(self) -> int:
        """How often a result was published."""
        return sum(event.state == "succeeded" for event in self.events)

    def unpublished_attempts(self) -> frozenset[int]:
        """Attempts whose result files stayed although they are not the job's result."""
        published = self.record.get("published")
        return self.results - ({int(published)} if published else set())

    def list_attempts(self) -> list[Attempt]:
        """Every attempt, in order."""
        return list(_iterate_attempts(self.job_id, self.events))


def _iterate_attempts(job_id: str, events: Sequence[StateChange]) -> Iterator[Attempt]:
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


def read_histories(settings: Settings) -> dict[str, JobHistory]:
    """Every job that Redis knows, by its id."""
    prefix = f"{settings.queue_name}:job:"
    with Redis.from_url(settings.redis_url, decode_responses=True) as redis:
        ids = [str(key).removeprefix(prefix) for key in redis.scan_iter(f"{prefix}*", count=1000)]
        return {job_id: _read_history(redis, settings, job_id) for job_id in ids}


def _read_history(redis: Redis, settings: Settings, job_id: str) -> JobHistory:
    name = settings.queue_name
    entries = redis.xrange(f"{name}:events:{job_id}")
    return JobHistory(
        job_id=job_id,
        record=redis.hgetall(f"{name}:job:{job_id}"),
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
