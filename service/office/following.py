"""A job's events as they happen, for one who may see them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from service.domain.caller import Caller
from service.errors import QueueUnavailable
from service.jobs.events import Event
from service.office.gateway import Gateway

PAUSE_SECONDS: Final = 1.0
"""From one look at a queue that is away to the next."""


async def follow(
    gateway: Gateway, caller: Caller, job_id: str, last_id: str | None = None
) -> AsyncGenerator[Event | None]:
    """Events up to the job's end or the gateway's; None now and then while there is none.

    A queue that is away is waited for. Raises: JobUnknown: the job was deleted. Unauthenticated:
    the caller's key was revoked.
    """
    while not gateway.watchers.are_sent_home:
        try:
            async with aclosing(gateway.desk.events.follow(job_id, last_id)) as events:
                async for event in events:
                    await gateway.gate.confirm(caller)
                    last_id = last_id if event is None else event.id
                    yield event
                    if gateway.watchers.are_sent_home:
                        return
            return
        except QueueUnavailable:
            yield None
            await gateway.watchers.pause(PAUSE_SECONDS)
