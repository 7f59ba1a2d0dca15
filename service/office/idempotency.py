"""One job for one idempotency key, however often its request is sent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from service.domain.caller import Caller
from service.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobUnknown,
    QueueUnavailable,
)
from service.jobs.desk import Desk
from service.jobs.idempotency import RENEW_SECONDS, Earlier, Reservation
from service.jobs.record import JobRecord
from service.office.wishes import Wishes

LONGEST: Final = 255
PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
"""What a key may be."""

log = logging.getLogger(__name__)


class Fingerprint:
    """What tells one submission from another: its choices, and its clip byte for byte."""

    def __init__(self, wishes: Wishes) -> None:
        self._hash = hashlib.sha256(wishes.as_text().encode() + b"\n")

    async def of(self, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The same bytes, taken down as they pass."""
        async for chunk in content:
            self._hash.update(chunk)
            yield chunk

    def text(self) -> str:
        """The fingerprint of what has passed."""
        return self._hash.hexdigest()


@asynccontextmanager
async def held(
    desk: Desk, caller: Caller, key: str | None
) -> AsyncGenerator[Reservation | Earlier | None]:
    """The key for as long as its upload lasts; an upload that comes to nothing gives it back.

    Raises: IdempotencyKeyInUse, QueueUnavailable.
    """
    taken = None if key is None else await desk.idempotency.reserve(caller.owner, key)
    if not isinstance(taken, Reservation):
        yield taken
        return
    renewing = asyncio.create_task(_renew(desk, taken), name="idempotency key")
    try:
        yield taken
    except BaseException:
        await _release(desk, taken)
        raise
    finally:
        renewing.cancel()


async def job_before(desk: Desk, job_id: str, fingerprint: str, earlier: str) -> JobRecord:
    """The job that the key stands for.

    Raises: IdempotencyKeyReused: it came with another request; IdempotencyKeyInUse: the job was
        deleted just now, and the key is free again.
    """
    if fingerprint != earlier:
        told = "this idempotency key came with another clip or other choices before"
        raise IdempotencyKeyReused(told)
    try:
        return await desk.find(job_id)
    except JobUnknown as error:
        raise key_is_free_again() from error


def key_is_free_again() -> IdempotencyKeyInUse:
    """The key's job was deleted while it was asked for: the next request has the key."""
    return IdempotencyKeyInUse("the key's job was deleted just now", retry_seconds=1)


async def _renew(desk: Desk, reservation: Reservation) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await desk.idempotency.renew(reservation)
        except (QueueUnavailable, IdempotencyKeyInUse) as error:
            log.warning("an idempotency key is not renewed: %s", error)


async def _release(desk: Desk, reservation: Reservation) -> None:
    try:
        await desk.idempotency.release(reservation)
    except QueueUnavailable as error:
        log.warning("an idempotency key is not given back, and ends by itself: %s", error)
