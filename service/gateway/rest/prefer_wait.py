"""`Prefer: wait=N` (RFC 7240): the client would rather wait for the job's end than ask again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Annotated, Final

from fastapi import Depends, Header, Request, Response

from service.errors import QueueUnavailable, TooManySubscribers
from service.gateway.context import GatewayContext
from service.gateway.rest.dependencies import GatewayDep
from service.gateway.rest.openapi import header_doc
from service.jobs.record import JobRecord

PREFERENCE_APPLIED_DOC: Final = {
    "Preference-Applied": header_doc("`wait=N`: the wish to wait was heard.")
}
JOB_POLL_SECONDS: Final = 0.25
WAIT_PATTERN: Final = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)


def parse_wait_seconds(lines: Iterable[str]) -> int | None:
    """How long the Prefer headers of a request ask to wait; what cannot be read is passed over."""
    for preference in ",".join(lines).split(","):
        if found := WAIT_PATTERN.fullmatch(preference.partition(";")[0]):
            return int(found[1])
    return None


async def _get_wait_seconds(
    request: Request,
    gateway: GatewayDep,
    prefer: Annotated[
        str | None,
        Header(description="`wait=N`: answer when the job has ended, after N seconds at most."),
    ] = None,
) -> int:
    requested = None if prefer is None else parse_wait_seconds(request.headers.getlist("prefer"))
    return min(requested or 0, gateway.settings.max_prefer_wait_seconds)


PreferWait = Annotated[int, Depends(_get_wait_seconds)]
"""How many seconds a client is willing to wait, no more than the settings allow."""


async def wait_for_job(
    request: Request,
    response: Response,
    gateway: GatewayContext,
    record: JobRecord,
    wait_seconds: int,
) -> JobRecord:
    """The job when it has ended, or as it stands when so many seconds are over.

    Ends early when the client goes away or the gateway stops. A queue that is away for a while
    is waited for; the job as last seen is the answer then. Raises: JobUnknown: it was deleted.
    """
    if not wait_seconds:
        return record
    try:
        with gateway.subscriber_limiter.slot(gateway.settings.max_subscribers):
            record = await _poll_job(request, gateway, record, time.monotonic() + wait_seconds)
        response.headers["Preference-Applied"] = f"wait={wait_seconds}"
    except TooManySubscribers:
        return record  # a preference is no right: the job as it stands is an answer too
    return record


async def _poll_job(
    request: Request, gateway: GatewayContext, record: JobRecord, deadline: float
) -> JobRecord:
    limiter = gateway.subscriber_limiter
    while not (record.state.is_final or limiter.is_stopping or time.monotonic() > deadline):
        await limiter.wait_for_stop(min(JOB_POLL_SECONDS, max(deadline - time.monotonic(), 0.0)))
        if await request.is_disconnected():
            break
        try:
            record = await gateway.job_queue.find(record.id)
        except QueueUnavailable:
            continue
    return record
