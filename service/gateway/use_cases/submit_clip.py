"""Submission of a clip: streamed into the blob store, then queued as a job.

check capacity > choose model > fingerprint > limit to capacity > blob store > job queue
"""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from service.domain.caller import Caller
from service.domain.estimator import EstimatorId
from service.domain.options import SubmissionOptions
from service.errors import (
    CircumplexError,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
    StoreFull,
)
from service.gateway.context import GatewayContext
from service.gateway.storage_quota import with_storage_quota
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

    Args: options: those of the request's head; the upload may hold more, behind the clip.
        declared_bytes: the size that the client declares, 0 if unknown.
    Raises: RequestError: the request is at fault. ServiceError: no capacity, or the queue or the
        store is unavailable.
    """
    max_bytes = min(gateway.settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    async with reserved_key(gateway.job_queue, caller, idempotency_key) as reservation:
        if not isinstance(reservation, PriorSubmission):
            caller = await with_storage_quota(
                caller, gateway.settings, gateway.job_queue, gateway.store
            )
            await _check_capacity(gateway, caller, min(declared_bytes, max_bytes))
        upload = await open_upload(max_bytes)
        if isinstance(reservation, PriorSubmission):
            return await _replay(gateway, options, upload, reservation)
        return await _store_and_enqueue(gateway, caller, options, upload, reservation)


async def _replay(
    gateway: GatewayContext, options: SubmissionOptions, upload: Upload, prior: PriorSubmission
) -> SubmitOutcome:
    """The prior job, if the upload has the same fingerprint; nothing is stored."""
    fingerprint = Fingerprint()
    async for _ in fingerprint.pass_through(upload.content):
        pass
    digest = fingerprint.hexdigest(_complete_options(options, upload))
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
    fingerprint = Fingerprint()
    job_id = new_job_id()
    model = _complete_options(options, upload).model
    estimator = None
    if model is not None or upload.read_options is None:
        estimator = await gateway.estimators.accept(model)
    size_bytes = await _store_clip(gateway, caller, job_id, upload, fingerprint)
    options = _complete_options(options, upload)
    if estimator is None:  # the model may have been behind the clip
        estimator = await _accept_stored(gateway, job_id, options.model)
    record = _make_record(job_id, caller, options, upload, size_bytes, estimator)
    digest = fingerprint.hexdigest(options)
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


def _complete_options(options: SubmissionOptions, upload: Upload) -> SubmissionOptions:
    """The options of the request, with those beside the clip."""
    return options if upload.read_options is None else upload.read_options()


async def _store_clip(
    gateway: GatewayContext,
    caller: Caller,
    job_id: str,
    upload: Upload,
    fingerprint: Fingerprint,
) -> int:
    """Stream the clip of a future job into the blob store; returns its bytes."""
    started = time.perf_counter()
    stored_bytes = await gateway.job_queue.measure_stored_bytes(caller.client_id)
    with gateway.pending_uploads.track(caller, stored_bytes) as count_bytes:
        content = _limit_to_capacity(gateway, count_bytes, fingerprint.pass_through(upload.content))
        size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    return size_bytes


async def _accept_stored(gateway: GatewayContext, job_id: str, model: str | None) -> EstimatorId:
    """Accept the choice of a model; the clip of a refused job is deleted."""
    try:
        return await gateway.estimators.accept(model)
    except CircumplexError:
        await gateway.store.delete(clip_key(job_id))
        raise


def _make_record(
    job_id: str,
    caller: Caller,
    options: SubmissionOptions,
    upload: Upload,
    size_bytes: int,
    estimator: EstimatorId,
) -> JobRecord:
    return JobRecord(
        id=job_id,
        owner=caller.owner,
        client_id=caller.address_id,
        priority=options.priority,
        filename=upload.filename,
        media_type=upload.media_type,
        clip_bytes=size_bytes,
        trace_id=TRACE_ID.get(),
        faces=options.analysis.faces,
        video_stream=options.analysis.video_stream,
        audio_stream=options.analysis.audio_stream,
        model=str(estimator),
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
    await gateway.store.check_free_space(size_bytes)
    await _check_budget(gateway, size_bytes)
    await gateway.job_queue.check_capacity(caller, size_bytes)


async def _check_budget(gateway: GatewayContext, size_bytes: int) -> None:
    """Raise StoreFull if the clip would exceed the budget of the blob store."""
    budget_bytes = gateway.settings.store_budget_bytes
    if budget_bytes is None:
        return
    if await gateway.job_queue.measure_stored_bytes() + size_bytes > budget_bytes:
        raise StoreFull("the blob store's budget has no room for the clip")


async def _limit_to_capacity(
    gateway: GatewayContext, count_bytes: Callable[[int], None], chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """Pass the content through within the caller's quota, the free space and the budget.

    Raises: QuotaExceeded, StoreFull.
    """
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
        count_bytes(len(chunk))
        await gateway.store.check_free_space(len(chunk))
        yield chunk
