"""Events of a job: state changes and progress, from its Redis stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from service.errors import JobUnknown
from service.jobs.queue.changes import JobChanges, wait_for_change
from service.jobs.queue.database import QueueDatabase
from service.jobs.record import JobState
from service.redis_client.client import redis_errors_translated

EVENT_POLL_SECONDS: Final = 0.5
"""Interval at which `watch` reads new events where no change is notified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """State of a job after a change. id: Redis stream id, milliseconds and a serial number.

    frames_total: an estimate until the job has succeeded.
    """

    id: str
    kind: Literal["state", "progress"]
    state: JobState
    attempt: int
    frames_done: int
    frames_total: int | None
    worker: str | None
    error_code: str | None

    @property
    def occurred_at(self) -> float:
        """Time of the change, seconds since the epoch."""
        return int(self.id.partition("-")[0]) / 1000


class JobEventLog:
    """Events of the jobs of one queue; every method raises QueueUnavailable."""

    def __init__(self, database: QueueDatabase, changes: JobChanges) -> None:
        self._redis = database.redis
        self._database = database
        self._changes = changes

    async def read_since(self, job_id: str, last_id: str | None) -> list[JobUpdate]:
        """Return the stored events after `last_id`; only the latest if that is None.

        Each event holds the complete state, so that the loss of older ones does no harm.
        """
        stream = self._database.key("events", job_id)
        found: Any
        async with redis_errors_translated():
            if last_id is None:
                found = await self._redis.xrevrange(stream, count=1)
            else:
                found = await self._redis.xrange(stream, min=f"({last_id}")
        return [_parse_event(name, fields) for name, fields in found]

    async def watch(self, job_id: str, last_id: str | None) -> AsyncGenerator[JobUpdate | None]:
        """Yield events after `last_id` until the job ends, and None at each poll without one.

        Raises: JobUnknown: the job does not exist, or was removed meanwhile.
        """
        with self._changes.subscribe(job_id) as changed:
            while True:
                changed.clear()
                is_final = (await self._read_state(job_id)).is_final
                found = await self.read_since(job_id, last_id)
                for event in found:
                    last_id = event.id
                    yield event
                if is_final:
                    return  # the state was read before the events: none is missing
                if not found:
                    yield None
                await wait_for_change(changed, EVENT_POLL_SECONDS)

    async def _read_state(self, job_id: str) -> JobState:
        async with redis_errors_translated():
            state: Any = await self._redis.hget(self._database.key("job", job_id), "state")
        if state is None:
            raise JobUnknown(f"there is no job {job_id[:64]!r}")
        return JobState(state)


def _parse_event(name: str, fields: Mapping[str, str]) -> JobUpdate:
    total = fields.get("frames_total")
    return JobUpdate(
        id=name,
        kind="state" if fields["kind"] == "state" else "progress",
        state=JobState(fields["state"]),
        attempt=int(fields.get("attempt", 0)),
        frames_done=int(fields.get("frames_done", 0)),
        frames_total=None if total is None else int(total),
        worker=fields.get("worker"),
        error_code=fields.get("error_code"),
    )
