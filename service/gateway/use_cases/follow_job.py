"""Following a job: its events as they happen, or its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from service.domain.caller import Caller
from service.errors import QueueUnavailable
from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownPhase, ShutdownState
from service.jobs.queue.events import JobUpdate
from service.jobs.record import JobRecord

OUTAGE_RETRY_SECONDS: Final = 1.0
"""Pause between two attempts to read the events of a job while the queue is unavailable."""
JOB_POLL_SECONDS: Final = 0.5
"""Interval of polling a job while waiting for its end, where no change is notified."""


async def watch_job(
    gateway: GatewayContext, caller: Caller, job_id: str, last_event_id: str | None = None
) -> AsyncGenerator[JobUpdate | None]:
    """Yield the job's events until it ends or the gateway stops; None at intervals without one.

    An outage of the queue is waited out.

    Raises: JobUnknown: the job was deleted. Unauthenticated: the caller's key was revoked or has
        expired.
    """
    while not gateway.shutdown.has_reached(ShutdownPhase.CLOSING):
        try:
            async with aclosing(gateway.job_queue.events.watch(job_id, last_event_id)) as events:
                async for event in events:
                    await gateway.authenticator.recheck(caller)
                    last_event_id = last_event_id if event is None else event.id
                    yield event
                    if gateway.shutdown.has_reached(ShutdownPhase.CLOSING):
                        return
            return
        except QueueUnavailable:
            yield None
            await gateway.shutdown.wait_for(ShutdownPhase.CLOSING, OUTAGE_RETRY_SECONDS)


async def wait_for_job_end(
    gateway: GatewayContext,
    caller: Caller,
    record: JobRecord,
    *,
    max_seconds: float,
    is_disconnected: Callable[[], Awaitable[bool]],
) -> JobRecord:
    """The job once it has ended, or its last known record after `max_seconds`.

    Returns early when the client disconnects or the gateway stops. An outage of the queue is
    waited out.

    Raises: TooManySubscribers, QuotaExceeded. JobUnknown: the job was deleted.
    """
    deadline = time.monotonic() + max_seconds
    shutdown, closing = gateway.shutdown, ShutdownPhase.CLOSING
    with (
        gateway.subscriber_limiter.subscription(caller, gateway.settings),
        gateway.job_queue.changes.subscribe_to_end(record.id) as changed,
    ):
        while not (
            record.state.is_final or shutdown.has_reached(closing) or time.monotonic() > deadline
        ):
            remaining = max(deadline - time.monotonic(), 0.0)
            await _wait_for_change(shutdown, changed, min(JOB_POLL_SECONDS, remaining))
            if await is_disconnected():
                break
            changed.clear()
            try:
                record = await gateway.job_queue.find(record.id)
            except QueueUnavailable:
                continue
    return record


async def _wait_for_change(
    shutdown: ShutdownState, changed: asyncio.Event, max_seconds: float
) -> None:
    """Wait until the job has changed, the gateway stops or the time is over."""
    waits = (
        asyncio.create_task(changed.wait()),
        asyncio.create_task(shutdown.wait_for(ShutdownPhase.CLOSING)),
    )
    try:
        await asyncio.wait(waits, timeout=max_seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
