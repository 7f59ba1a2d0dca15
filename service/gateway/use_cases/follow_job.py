"""A job's events as they happen, for one who may see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from service.domain.caller import Caller
from service.errors import QueueUnavailable
from service.gateway.context import GatewayContext
from service.jobs.queue.events import JobUpdate

OUTAGE_RETRY_SECONDS: Final = 1.0
"""From one look at a queue that is away to the next."""


async def watch_job(
    gateway: GatewayContext, caller: Caller, job_id: str, last_event_id: str | None = None
) -> AsyncGenerator[JobUpdate | None]:
    """Events up to the job's end or the gateway's; None now and then while there is none.

    A queue that is away is waited for. Raises: JobUnknown: the job was deleted. Unauthenticated:
    the caller's key was revoked.
    """
    while not gateway.subscriber_limiter.is_stopping:
        try:
            async with aclosing(gateway.job_queue.events.watch(job_id, last_event_id)) as events:
                async for event in events:
                    await gateway.authenticator.recheck(caller)
                    last_event_id = last_event_id if event is None else event.id
                    yield event
                    if gateway.subscriber_limiter.is_stopping:
                        return
            return
        except QueueUnavailable:
            yield None
            await gateway.subscriber_limiter.wait_for_stop(OUTAGE_RETRY_SECONDS)
