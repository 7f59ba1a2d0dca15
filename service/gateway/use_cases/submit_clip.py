"""Submit a clip: into the store as it comes, then into the queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.domain.caller import Caller
from service.domain.options import SubmissionOptions
from service.errors import JobUnknown, QueueFull, QuotaExceeded, StoreFull
from service.gateway.context import GatewayContext
from service.gateway.use_cases.capacity import check_budget, check_capacity, limit_to_capacity
from service.gateway.use_cases.idempotency import (
    Fingerprint,
    key_released_error,
    replayed_job,
    reserved_key,
)
from service.gateway.use_cases.uploads import Upload
from service.jobs.queue.idempotency_keys import PriorSubmission, Reservation
from service.jobs.queue.job_queue import SubmitReceipt
from service.jobs.record import JobRecord, clip_key, new_job_id
from service.telemetry.logs import TRACE_ID

UploadOpener = Callable[[int], Awaitable[Upload]]
"""Finds the clip in a request; takes how many bytes it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOutcome:
    """The job of a submission. is_replayed: of an earlier one with the same key."""

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
    """Take a clip in and queue its job.

    Args: key: the idempotency key; stated_bytes: what the client says to bring, if it does.
    Raises: RequestError for the request, ServiceError where there is no room or a part is away.
    """
    max_bytes = min(gateway.settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    async with reserved_key(gateway.job_queue, caller, idempotency_key) as reservation:
        if not isinstance(
            reservation, PriorSubmission
        ):  # refused before gigabytes are taken in for nothing
            await check_capacity(gateway, caller, min(declared_bytes, max_bytes))
        upload = await open_upload(max_bytes)
        if isinstance(reservation, PriorSubmission):
            return await _replay(gateway, options, upload, reservation)
        return await _store_and_enqueue(gateway, caller, options, upload, reservation)


async def _replay(
    gateway: GatewayContext, options: SubmissionOptions, upload: Upload, prior: PriorSubmission
) -> SubmitOutcome:
    """The earlier job, if the upload is the earlier upload; nothing of it is stored."""
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
    """Store the clip and queue its job."""
    started = time.perf_counter()
    job_id = new_job_id()
    fingerprint = Fingerprint(options)
    content = limit_to_capacity(gateway, fingerprint.pass_through(upload.content))
    size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    record = JobRecord(
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
    digest = fingerprint.hexdigest()
    receipt = await _enqueue(
        gateway,
        caller,
        record,
        None if reservation is None else reservation.with_fingerprint(digest),
    )
    if receipt.prior_fingerprint is None:
        return SubmitOutcome(record=receipt.record, is_replayed=False)
    await gateway.store.delete(record.clip_key)
    earlier = await replayed_job(
        gateway.job_queue, receipt.record.id, digest, receipt.prior_fingerprint
    )
    return SubmitOutcome(record=earlier, is_replayed=True)


async def _enqueue(
    gateway: GatewayContext, caller: Caller, record: JobRecord, reservation: Reservation | None
) -> SubmitReceipt:
    """Queue the job; a clip whose job was refused is deleted.

    Where the queue's answer was lost the job may have been accepted: its clip stays, and is
    swept if it was not.
    """
    try:
        await check_budget(gateway, record.clip_bytes)
        return await gateway.job_queue.submit(record, limits=caller.limits, reservation=reservation)
    except (QueueFull, QuotaExceeded, StoreFull):
        await gateway.store.delete(record.clip_key)
        raise
    except JobUnknown as error:
        await gateway.store.delete(record.clip_key)
        raise key_released_error() from error
