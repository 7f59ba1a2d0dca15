"""Submit a clip: into the store as it comes, then into the queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.domain.caller import Caller
from service.errors import JobUnknown, QueueFull, QuotaExceeded, StoreFull
from service.jobs.desk import Receipt
from service.jobs.idempotency import Earlier, Reservation
from service.jobs.record import JobRecord, clip_key, new_job_id
from service.office.gateway import Gateway
from service.office.idempotency import Fingerprint, held, job_before, key_is_free_again
from service.office.room import check_budget, check_room, while_there_is_room
from service.office.uploads import Upload
from service.office.wishes import Wishes
from service.telemetry.logs import TRACE_ID

OpenUpload = Callable[[int], Awaitable[Upload]]
"""Finds the clip in a request; takes how many bytes it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The job of a submission. is_replayed: of an earlier one with the same key."""

    record: JobRecord
    is_replayed: bool


async def submit_clip(
    gateway: Gateway,
    caller: Caller,
    wishes: Wishes,
    *,
    open_upload: OpenUpload,
    key: str | None = None,
    stated_bytes: int = 0,
) -> Submitted:
    """Take a clip in and queue its job.

    Args: key: the idempotency key; stated_bytes: what the client says to bring, if it does.
    Raises: RequestError for the request, ServiceError where there is no room or a part is away.
    """
    max_bytes = min(gateway.settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    async with held(gateway.desk, caller, key) as taken:
        if not isinstance(taken, Earlier):  # refused before gigabytes are taken in for nothing
            await check_room(gateway, caller, min(stated_bytes, max_bytes))
        upload = await open_upload(max_bytes)
        if isinstance(taken, Earlier):
            return await _compare(gateway, wishes, upload, taken)
        return await _take_in(gateway, caller, wishes, upload, taken)


async def _compare(gateway: Gateway, wishes: Wishes, upload: Upload, earlier: Earlier) -> Submitted:
    """The earlier job, if the upload is the earlier upload; nothing of it is stored."""
    fingerprint = Fingerprint(wishes)
    async for _ in fingerprint.of(upload.content):
        pass
    told = fingerprint.text()
    record = await job_before(gateway.desk, earlier.job_id, told, earlier.fingerprint)
    return Submitted(record=record, is_replayed=True)


async def _take_in(
    gateway: Gateway,
    caller: Caller,
    wishes: Wishes,
    upload: Upload,
    reservation: Reservation | None,
) -> Submitted:
    """Store the clip and queue its job."""
    started = time.perf_counter()
    job_id = new_job_id()
    fingerprint = Fingerprint(wishes)
    content = while_there_is_room(gateway, fingerprint.of(upload.content))
    size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    record = JobRecord(
        id=job_id,
        owner=caller.owner,
        priority=wishes.priority,
        filename=upload.filename,
        media_type=upload.media_type,
        clip_bytes=size_bytes,
        trace_id=TRACE_ID.get(),
        faces=wishes.choices.faces,
        video_stream=wishes.choices.video_stream,
        audio_stream=wishes.choices.audio_stream,
    )
    told = fingerprint.text()
    receipt = await _queue(
        gateway, caller, record, None if reservation is None else reservation.finished(told)
    )
    if receipt.earlier_fingerprint is None:
        return Submitted(record=receipt.record, is_replayed=False)
    await gateway.store.delete(record.clip_key)
    earlier = await job_before(gateway.desk, receipt.record.id, told, receipt.earlier_fingerprint)
    return Submitted(record=earlier, is_replayed=True)


async def _queue(
    gateway: Gateway, caller: Caller, record: JobRecord, reservation: Reservation | None
) -> Receipt:
    """Queue the job; a clip whose job was refused is deleted.

    Where the queue's answer was lost the job may have been accepted: its clip stays, and is
    swept if it was not.
    """
    try:
        await check_budget(gateway, record.clip_bytes)
        return await gateway.desk.submit(record, limits=caller.limits, reservation=reservation)
    except (QueueFull, QuotaExceeded, StoreFull):
        await gateway.store.delete(record.clip_key)
        raise
    except JobUnknown as error:
        await gateway.store.delete(record.clip_key)
        raise key_is_free_again() from error
