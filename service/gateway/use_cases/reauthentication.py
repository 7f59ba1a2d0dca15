"""Who was let in stays in as long as they would be let in anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from service.auth.authenticator import Authenticator
from service.domain.caller import Caller
from service.errors import QueueUnavailable, Unauthenticated

RECHECK_SECONDS: Final = 1.0
"""From one look at whether the caller's key still holds to the next."""


@asynccontextmanager
async def while_authorized(authenticator: Authenticator, caller: Caller) -> AsyncGenerator[None]:
    """What a caller is let do while the context lasts.

    Raises: Unauthenticated: the key was revoked or has expired; what is done is broken off.
    """
    deadline = asyncio.timeout(None)
    recheck = asyncio.create_task(
        _wait_until_unauthorized(authenticator, caller, deadline), name="welcome"
    )
    try:
        async with deadline:
            yield
    except TimeoutError:
        if not (deadline.expired() and recheck.done()):
            raise
        raise recheck.result() from None
    finally:
        recheck.cancel()


async def _wait_until_unauthorized(
    authenticator: Authenticator, caller: Caller, deadline: asyncio.Timeout
) -> Unauthenticated:
    """Why the caller would not be let in any more, as soon as that is so."""
    while True:
        await asyncio.sleep(RECHECK_SECONDS)
        try:
            await authenticator.recheck(caller)
        except Unauthenticated as error:
            deadline.reschedule(asyncio.get_running_loop().time())
            return error
        except QueueUnavailable:
            continue  # nobody knows: who is in stays in
