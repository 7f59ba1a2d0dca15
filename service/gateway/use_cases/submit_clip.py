"""Submission of a clip: streamed into the blob store, then queued as a job.

    check capacity > fingerprint > limit to capacity > blob store > job queue

One idempotency key makes one job, however often the request is sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from service.domain.caller import Caller
from service.domain.options import SubmissionOptions
from service.errors import (
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobUnknown,
    QueueFull,
    QueueUnavailable,
    QuotaExceeded,
    StoreFull,
)
from service.gateway.context import GatewayContext
from service.gateway.use_cases.uploads import Upload
from service.jobs.queue.job_queue import (
    KEY_RENEW_SECONDS,
    JobQueue,
    PriorSubmission,
    Reservation,
    SubmitReceipt,
)
from service.jobs.record import JobRecord, clip_key, new_job_id
from service.telemetry.logs import TRACE_ID

UploadOpener = Callable[[int], Awaitable[Upload]]
"""Finds the clip in a request; its argument is the maximum size of the clip, bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOutcome:
    """The job of a submission. is_replayed: the job of a prior one with the same key."""

    record: JobRecord
    is_replayed: bool


async def submit_clip(
    gateway: GatewayContext,
    caller: Caller,
    options: SubmissionOptions,
    *,
    open_upload: UploadOpener,
    idempotency_key: str | None = None,
    declared_bytes: int = 0,
) -> SubmitOutcome:
    """Store a clip and queue its job.

    Args: declared_bytes: the size that the client declares, 0 if unknown.
    Raises: RequestError: the request is at fault. ServiceError: no capacity, or the queue or the
        store is unavailable.
    """
    max_bytes = min(gateway.settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    async with reserved_key(gateway.job_queue, caller, idempotency_key) as reservation:
        if not isinstance(reservation, PriorSubmission):
            await _check_capacity(gateway, caller, min(declared_bytes, max_bytes))
        upload = await open_upload(max_bytes)
        if isinstance(reservation, PriorSubmission):
            return await _replay(gateway, options, upload, reservation)
        return await _store_and_enqueue(gateway, caller, options, upload, reservation)


async def _replay(
    gateway: GatewayContext, options: SubmissionOptions, upload: Upload, prior: PriorSubmission
) -> SubmitOutcome:
    """The prior job, if the upload has the same fingerprint; nothing is stored."""
    fingerprint = Fingerprint(options)
    async for _ in fingerprint.pass_through(upload.content):
        pass
    digest = fingerprint.hexdigest()
    record = await replayed_job(gateway.job_queue, prior.job_id, digest, prior.fingerprint)
    return SubmitOutcome(record=record, is_replayed=True)


async def _store_and_enqueue(
    gateway: GatewayContext,
    caller: Caller,
    options: SubmissionOptions,
    upload: Upload,
    reservation: Reservation | None,
) -> SubmitOutcome:
    """Store the clip, queue its job, and resolve a race for the idempotency key."""
    fingerprint = Fingerprint(options)
    record = await _store_clip(gateway, caller, options, upload, fingerprint)
    digest = fingerprint.hexdigest()
    if reservation is not None:
        reservation = reservation.with_fingerprint(digest)
    receipt = await _enqueue(gateway, caller, record, reservation)
    if receipt.prior_fingerprint is None:
        return SubmitOutcome(record=receipt.record, is_replayed=False)
    await gateway.store.delete(record.clip_key)
    earlier = await replayed_job(
        gateway.job_queue, receipt.record.id, digest, receipt.prior_fingerprint
    )
    return SubmitOutcome(record=earlier, is_replayed=True)


async def _store_clip(
    gateway: GatewayContext,
    caller: Caller,
    options: SubmissionOptions,
    upload: Upload,
    fingerprint: Fingerprint,
) -> JobRecord:
    """Stream the clip into the blob store; returns the record of its future job."""
    started = time.perf_counter()
    job_id = new_job_id()
    content = _limit_to_capacity(gateway, fingerprint.pass_through(upload.content))
    size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    return JobRecord(
        id=job_id,
        owner=caller.owner,
        priority=options.priority,
        filename=upload.filename,
        media_type=upload.media_type,
        clip_bytes=size_bytes,
        trace_id=TRACE_ID.get(),
        faces=options.analysis.faces,
        video_stream=options.analysis.video_stream,
        audio_stream=options.analysis.audio_stream,
    )


async def _enqueue(
    gateway: GatewayContext, caller: Caller, record: JobRecord, reservation: Reservation | None
) -> SubmitReceipt:
    """Queue the job; the clip of a refused job is deleted.

    If the queue's reply is lost, the job may have been accepted: then the clip stays, and the
    orphan sweep deletes it if no job refers to it.
    """
    try:
        await _check_budget(gateway, record.clip_bytes)
        return await gateway.job_queue.submit(record, limits=caller.limits, reservation=reservation)
    except (QueueFull, QuotaExceeded, StoreFull):
        await gateway.store.delete(record.clip_key)
        raise
    except JobUnknown as error:
        await gateway.store.delete(record.clip_key)
        raise key_released_error() from error


async def _check_capacity(gateway: GatewayContext, caller: Caller, size_bytes: int) -> None:
    """Refuse a clip that cannot be accepted, before its first byte is read.

    Raises: QueueFull, QuotaExceeded, StoreFull.
    """
    await gateway.job_queue.check_capacity(caller, size_bytes)
    await gateway.store.check_free_space(size_bytes)
    await _check_budget(gateway, size_bytes)


async def _check_budget(gateway: GatewayContext, size_bytes: int) -> None:
    """Raise StoreFull if the clip would exceed the budget of the blob store."""
    budget_bytes = gateway.settings.store_budget_bytes
    if budget_bytes is None:
        return
    if await gateway.job_queue.measure_stored_bytes() + size_bytes > budget_bytes:
        raise StoreFull("the blob store's budget has no room for the clip")


async def _limit_to_capacity(
    gateway: GatewayContext, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Pass the content through; raises StoreFull once it exceeds the free space or the budget."""
    budget_bytes = gateway.settings.store_budget_bytes
    remaining_bytes = (
        None
        if budget_bytes is None
        else budget_bytes - await gateway.job_queue.measure_stored_bytes()
    )
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if remaining_bytes is not None and size_bytes > remaining_bytes:
            raise StoreFull("the blob store's budget has no room for the clip")
        await gateway.store.check_free_space(len(chunk))
        yield chunk


MAX_KEY_LENGTH: Final = 255
"""Characters of an idempotency key."""
KEY_PATTERN: Final = r"^[!-~]([ -~]*[!-~])?$"
"""Printable ASCII without leading or trailing spaces."""

log = logging.getLogger(__name__)


class Fingerprint:
    """SHA-256 of a submission: its options and the bytes of its clip."""

    def __init__(self, options: SubmissionOptions) -> None:
        self._hash = hashlib.sha256(options.to_canonical_json().encode() + b"\n")

    async def pass_through(self, content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Pass the content through, hashing its bytes."""
        async for chunk in content:
            self._hash.update(chunk)
            yield chunk

    def hexdigest(self) -> str:
        """The fingerprint of the bytes so far, in hex."""
        return self._hash.hexdigest()


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
