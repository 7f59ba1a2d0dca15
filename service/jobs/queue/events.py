"""What has happened to a job, as it happens."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.asyncio import Redis

from service.errors import JobUnknown
from service.jobs.record import JobState
from service.redis_client.client import redis_errors_translated
from service.redis_client.scripts import LuaScripts

EVENT_POLL_SECONDS: Final = 0.25
EVENT_ID_PATTERN: Final = re.compile(r"\d{1,19}-\d{1,19}")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """The job after a change. `id` is a Redis stream id: a time in milliseconds and a number.

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
        """When it happened, seconds since the epoch."""
        return int(self.id.partition("-")[0]) / 1000


class JobEventLog:
    """Raises QueueUnavailable when Redis is away."""

    def __init__(self, redis: Redis, scripts: LuaScripts) -> None:
        self._redis = redis
        self._scripts = scripts

    async def read_since(self, job_id: str, last_id: str | None) -> list[JobUpdate]:
        """All that is kept after `last_id`; only the latest event where that is None.

        Every event tells how the job stands, so that nothing is missed where some are not kept.
        """
        stream = self._scripts.key("events", job_id)
        found: Any
        async with redis_errors_translated():
            if last_id is None:
                found = await self._redis.xrevrange(stream, count=1)
            else:
                found = await self._redis.xrange(stream, min=f"({last_id}")
        return [_parse_event(name, fields) for name, fields in found]

    async def watch(self, job_id: str, last_id: str | None) -> AsyncGenerator[JobUpdate | None]:
        """Events from then on, up to the job's end; None now and then while there is none.

        Raises: JobUnknown: there is no such job, or it was removed meanwhile.
        """
        while True:
            is_final = (await self._read_state(job_id)).is_final
            found = await self.read_since(job_id, last_id)
            for event in found:
                last_id = event.id
                yield event
            if is_final:
                return  # it was before the events were read: they are all
            if not found:
                yield None
            await asyncio.sleep(EVENT_POLL_SECONDS)

    async def _read_state(self, job_id: str) -> JobState:
        async with redis_errors_translated():
            state: Any = await self._redis.hget(self._scripts.key("job", job_id), "state")
        if state is None:
            raise JobUnknown(f"there is no job {job_id[:64]!r}")
        return JobState(state)


def is_event_id(text: str) -> bool:
    """Whether this could be the id of an event."""
    return EVENT_ID_PATTERN.fullmatch(text) is not None


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
