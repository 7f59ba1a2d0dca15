"""Idempotency keys: one key makes one job, however often the request is sent."""

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
from service.jobs.queue.idempotency_keys import (
    KEY_RENEW_SECONDS,
    PriorSubmission,
    Reservation,
)
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import JobRecord

MAX_KEY_LENGTH: Final = 255
"""Characters of an idempotency key."""
KEY_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
"""Printable ASCII without leading or trailing spaces."""

log = logging.getLogger(__name__)


class Fingerprint:
    """SHA-256 of a submission: the bytes of its clip, and its options."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    async def pass_through(self, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Pass the content through, hashing its bytes."""
        async for chunk in content:
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self, options: SubmissionOptions) -> str:
        """The fingerprint of the bytes so far and of the options, in hex."""
        parts = (self._hash.hexdigest(), options.to_canonical_json())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@asynccontextmanager
async def reserved_key(
    job_queue: JobQueue, caller: Caller, key: str | None
) -> AsyncGenerator[Reservation | PriorSubmission | None]:
    """Reserve a key while its upload lasts; release it if the upload fails.

    Yields: the reservation, the prior submission with this key, or None without a key.
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
    """Find the job of a prior submission.

    Raises: IdempotencyKeyReused: the key was used for a different request. IdempotencyKeyInUse:
        the job was deleted meanwhile, and the key is free again.
    """
    if fingerprint != prior_fingerprint:
        detail = "this idempotency key was used with another clip or other options before"
        raise IdempotencyKeyReused(detail)
    try:
        return await job_queue.find(job_id)
    except JobUnknown as error:
        raise key_released_error() from error


def key_released_error() -> IdempotencyKeyInUse:
    """The error when the key's job was deleted meanwhile: a repeated request gets the key."""
    return IdempotencyKeyInUse("the key's job was deleted just now", retry_seconds=1)


async def _renew_forever(job_queue: JobQueue, reservation: Reservation) -> None:
    while True:
        await asyncio.sleep(KEY_RENEW_SECONDS)
        try:
            await job_queue.idempotency_keys.renew(reservation)
        except (QueueUnavailable, IdempotencyKeyInUse) as error:
            log.warning("idempotency key not renewed: %s", error)


async def _release(job_queue: JobQueue, reservation: Reservation) -> None:
    try:
        await job_queue.idempotency_keys.release(reservation)
    except QueueUnavailable as error:
        log.warning("idempotency key not released, it will expire: %s", error)
