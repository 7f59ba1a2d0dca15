"""Changes of a queue's jobs as they happen, so that nobody has to poll for them at short intervals.

    script of a gateway or worker ──XADD──▶ stream `changes` ──XREAD BLOCK──▶ one reader a process
                                                                                └▶ subscriptions

A change is a hint: a subscriber reads the state itself, and polls slowly beside, since a reader may
lose changes in an outage of Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Final, TypeAlias

from service.errors import QueueUnavailable
from service.jobs.queue.database import QueueDatabase
from service.jobs.record import JobState
from service.redis_client.client import redis_errors_translated

BLOCK_MILLISECONDS: Final = 2000
"""Longest wait of one blocking read, below the time-out of a command."""
OUTAGE_RETRY_SECONDS: Final = 1.0
"""Pause before the reader tries again while Redis is unavailable."""
_FIRST_ID: Final = "0-0"
_STATES_BEFORE_THE_END: Final = tuple(state for state in JobState if not state.is_final)

Subscribed: TypeAlias = Callable[[str, str], bool]
"""Whether a change counts, by the job's id and its new state."""


class JobChanges:
    """Subscriptions to the changes of one queue; while there are any, one blocking read serves."""

    def __init__(self, database: QueueDatabase) -> None:
        self._redis = database.redis
        self._stream = database.key("changes")
        self._subscriptions: dict[asyncio.Event, Subscribed] = {}
        self._reader: asyncio.Task[None] | None = None

    def subscribe(self, job_id: str) -> AbstractContextManager[asyncio.Event]:
        """Subscribe to each change of a job.

        The event may be set without a change. Clear it before the state is read: then none is
        missed.
        """
        return self._subscribe(lambda changed, _: changed == job_id)

    def subscribe_to_end(self, job_id: str) -> AbstractContextManager[asyncio.Event]:
        """Subscribe to the end or removal of a job, as `subscribe` does."""
        return self._subscribe(
            lambda changed, state: changed == job_id and state not in _STATES_BEFORE_THE_END
        )

    def subscribe_to_queued(self) -> AbstractContextManager[asyncio.Event]:
        """Subscribe to every job that is queued, as `subscribe` does."""
        return self._subscribe(lambda _, state: state == JobState.QUEUED)

    @contextmanager
    def _subscribe(self, is_subscribed: Subscribed) -> Generator[asyncio.Event]:
        changed = asyncio.Event()
        self._subscriptions[changed] = is_subscribed
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_changes(), name="job changes")
        else:
            changed.set()  # the reader may be behind the state that was read before
        try:
            yield changed
        finally:
            del self._subscriptions[changed]

    async def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader

    async def _read_changes(self) -> None:
        """Set the events of the subscriptions until there are none."""
        last_id: str | None = None
        try:
            while self._subscriptions:
                try:
                    if last_id is None:
                        last_id = await self._read_last_id()
                        self._notify_all()  # of what has changed before that
                    else:
                        last_id = await self._read_after(last_id)
                except QueueUnavailable:
                    last_id = None
                    await asyncio.sleep(OUTAGE_RETRY_SECONDS)
        finally:
            self._reader = None

    async def _read_last_id(self) -> str:
        async with redis_errors_translated():
            found: Any = await self._redis.xrevrange(self._stream, count=1)
        return found[0][0] if found else _FIRST_ID

    async def _read_after(self, last_id: str) -> str:
        """Wait for changes after an id, and notify of them; returns the last id."""
        async with redis_errors_translated():
            found: Any = await self._redis.xread({self._stream: last_id}, block=BLOCK_MILLISECONDS)
        for _, entries in found:
            for entry_id, fields in entries:
                last_id = entry_id
                self._notify(fields["job"], fields["state"])
        return last_id

    def _notify(self, job_id: str, state: str) -> None:
        for changed, is_subscribed in self._subscriptions.items():
            if is_subscribed(job_id, state):
                changed.set()

    def _notify_all(self) -> None:
        for changed in self._subscriptions:
            changed.set()


async def wait_for_change(changed: asyncio.Event, max_seconds: float) -> None:
    """Wait until the event of a subscription is set, or the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max_seconds):
            await changed.wait()
