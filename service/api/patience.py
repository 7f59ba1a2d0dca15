"""`Prefer: wait=N` (RFC 7240): the client would rather wait for the job's end than ask again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response

from service.api.documents import header
from service.api.gateway import GatewayOfApp
from service.errors import QueueUnavailable, WatchersFull
from service.jobs.record import JobRecord
from service.office.gateway import Gateway

APPLIED: Final = {"Preference-Applied": header("`wait=N`: the wish to wait was heard.")}
LOOK_SECONDS: Final = 0.25
WAIT: Final = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)


def wished_seconds(lines: Iterable[str]) -> int | None:
    """How long the Prefer headers of a request ask to wait; what cannot be read is passed over."""
    for preference in ",".join(lines).split(","):
        if found := WAIT.fullmatch(preference.partition(";")[0]):
            return int(found[1])
    return None


async def _patience(
    request: Request,
    gateway: GatewayOfApp,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: answer when the job has ended, after N seconds at most."),
    ] = None,
) -> int:
    wished = None if prefer is None else wished_seconds(request.headers.getlist("prefer"))
    return min(wished or 0, gateway.settings.max_prefer_wait_seconds)


Patience = Annotated[int, Depends(_patience)]
"""How many seconds a client is willing to wait, no more than the settings allow."""


async def wait_for_end(
    request: Request, response: Response, gateway: Gateway, record: JobRecord, seconds: int
) -> JobRecord:
    """The job when it has ended, or as it stands when so many seconds are over.

    Ends early when the client goes away or the gateway stops. A queue that is away for a while
    is waited for; the job as last seen is the answer then. Raises: JobUnknown: it was deleted.
    """
    if not seconds:
        return record
    try:
        with gateway.watchers.seat(gateway.settings.max_subscribers):
            record = await _watch(request, gateway, record, time.monotonic() + seconds)
        response.headers["Preference-Applied"] = f"wait={seconds}"
    except WatchersFull:
        return record  # a preference is no right: the job as it stands is an answer too
    return record


async def _watch(request: Request, gateway: Gateway, record: JobRecord, until: float) -> JobRecord:
    watchers = gateway.watchers
    while not (record.state.is_final or watchers.are_sent_home or time.monotonic() > until):
        await watchers.pause(min(LOOK_SECONDS, max(until - time.monotonic(), 0.0)))
        if await request.is_disconnected():
            break
        try:
            record = await gateway.desk.find(record.id)
        except QueueUnavailable:
            continue
    return record
