"""A stream for as long as its caller would be let in."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.errors import QueueUnavailable
from service.office.gateway import Gateway

CONFIRM_SECONDS: Final = 10.0
"""From one look at whether the caller's key still holds to the next."""


async def annotate(
    gateway: Gateway, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
    """Annotate one stream.

    Raises: Unauthenticated: the caller's key was revoked; what `Streams.annotate` raises.
    """
    confirm_at = time.monotonic() + CONFIRM_SECONDS
    async with aclosing(gateway.streams.annotate(requests, caller)) as responses:
        async for response in responses:
            yield response
            if time.monotonic() > confirm_at:
                with suppress(QueueUnavailable):
                    await gateway.gate.confirm(caller)
                confirm_at = time.monotonic() + CONFIRM_SECONDS
