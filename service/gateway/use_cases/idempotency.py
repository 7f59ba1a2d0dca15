"""One job for one idempotency key, however often its request is sent."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from service.domain.caller import Caller
from service.domain.options import SubmissionOptions
from service.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobUnknown,
    QueueUnavailable,
)
from service.jobs.queue.idempotency_keys import RENEW_SECONDS, PriorSubmission, Reservation
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import JobRecord

MAX_KEY_LENGTH: Final = 255
KEY_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
"""What a key may be."""

log = logging.getLogger(__name__)


class Fingerprint:
    """What tells one submission from another: its choices, and its clip byte for byte."""

    def __init__(self, options: SubmissionOptions) -> None:
        self._hash = hashlib.sha256(options.to_canonical_json().encode() + b"\n")

    async def pass_through(self, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The same bytes, taken down as they pass."""
        async for chunk in content:
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self) -> str:
        """The fingerprint of what has passed."""
        return self._hash.hexdigest()


@asynccontextmanager
async def reserved_key(
    job_queue: JobQueue, caller: Caller, key: str | None
) -> AsyncGenerator[Reservation | PriorSubmission | None]:
    """The key for as long as its upload lasts; an upload that comes to nothing gives it back.

    Raises: IdempotencyKeyInUse, QueueUnavailable.
    """
    reservation = (
        None if key is None else await job_queue.idempotency_keys.reserve(caller.owner, key)
    )
    if not isinstance(reservation, Reservation):
        yield reservation
        return
    renewal = asyncio.create_task(_renew_forever(job_queue, reservation), name="idempotency key")
    try:
        yield reservation
    except BaseException:
        await _release(job_queue, reservation)
        raise
    finally:
        renewal.cancel()


async def replayed_job(
    job_queue: JobQueue, job_id: str, fingerprint: str, prior_fingerprint: str
) -> JobRecord:
    """The job that the key stands for.

    Raises: IdempotencyKeyReused: it came with another request; IdempotencyKeyInUse: the job was
        deleted just now, and the key is free again.
    """
    if fingerprint != prior_fingerprint:
        detail = "this idempotency key came with another clip or other choices before"
        raise IdempotencyKeyReused(detail)
    try:
        return await job_queue.find(job_id)
    except JobUnknown as error:
        raise key_released_error() from error


def key_released_error() -> IdempotencyKeyInUse:
    """The key's job was deleted while it was asked for: the next request has the key."""
    return IdempotencyKeyInUse("the key's job was deleted just now", retry_seconds=1)


async def _renew_forever(job_queue: JobQueue, reservation: Reservation) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        try:
            await job_queue.idempotency_keys.renew(reservation)
        except (QueueUnavailable, IdempotencyKeyInUse) as error:
            log.warning("an idempotency key is not renewed: %s", error)


async def _release(job_queue: JobQueue, reservation: Reservation) -> None:
    try:
        await job_queue.idempotency_keys.release(reservation)
    except QueueUnavailable as error:
        log.warning("an idempotency key is not given back, and ends by itself: %s", error)
