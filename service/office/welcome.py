"""Who was let in stays in as long as they would be let in anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from service.access.gate import Gate
from service.domain.caller import Caller
from service.errors import QueueUnavailable, Unauthenticated

CONFIRM_SECONDS: Final = 1.0
"""From one look at whether the caller's key still holds to the next."""


@asynccontextmanager
async def welcome(gate: Gate, caller: Caller) -> AsyncGenerator[None]:
    """What a caller is let do while the context lasts.

    Raises: Unauthenticated: the key was revoked or has expired; what is done is broken off.
    """
    patience = asyncio.timeout(None)
    watching = asyncio.create_task(_watch(gate, caller, patience), name="welcome")
    try:
        async with patience:
            yield
    except TimeoutError:
        if not (patience.expired() and watching.done()):
            raise
        raise watching.result() from None
    finally:
        watching.cancel()


async def _watch(gate: Gate, caller: Caller, patience: asyncio.Timeout) -> Unauthenticated:
    """Why the caller would not be let in any more, as soon as that is so."""
    while True:
        await asyncio.sleep(CONFIRM_SECONDS)
        try:
            await gate.confirm(caller)
        except Unauthenticated as error:
            patience.reschedule(asyncio.get_running_loop().time())
            return error
        except QueueUnavailable:
            continue  # nobody knows: who is in stays in
