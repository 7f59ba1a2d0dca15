"""Submit a clip."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from service.api.access import REFUSALS, Submitter
from service.api.documents import AWAY, UPLOAD_BODY, answers, header, problems_of
from service.api.examples import QUEUED, SUCCEEDED
from service.api.gateway import Gateway, GatewayOfApp
from service.api.idempotency import (
    REPLAYED,
    Fingerprint,
    Key,
    held,
    job_before,
    key_is_free_again,
)
from service.api.jobs import POLL_SECONDS, RETRY_AFTER
from service.api.paths import JOB_PATH, JOBS_PATH
from service.api.patience import APPLIED, Patience, wait_for_end
from service.api.room import check_budget, check_room, stated_bytes, while_there_is_room
from service.api.schemas import Job, Submission
from service.api.showing import show_job
from service.api.uploads import Upload, open_upload
from service.domain.caller import Caller
from service.errors import (
    ClipEmpty,
    ClipFieldMissing,
    ClipTooLarge,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobUnknown,
    MediaTypeUnsupported,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
    StoreFull,
    UploadInterrupted,
)
from service.jobs.desk import Receipt
from service.jobs.idempotency import Earlier, Reservation
from service.jobs.record import JobRecord, clip_key, new_job_id
from service.telemetry.logs import TRACE_ID

HEADERS: Final = {
    "Location": header("Where to watch the job."),
    REPLAYED: header("`true`: the job is that of an earlier request with the same key."),
    **APPLIED,
}

router = APIRouter(tags=["jobs"])


@router.post(
    JOBS_PATH,
    status_code=202,
    summary="Submit a clip",
    response_model_exclude_unset=True,
    openapi_extra=UPLOAD_BODY,
    responses={
        200: answers("The job has ended already.", SUCCEEDED, HEADERS, model=Job),
        202: answers(
            "The clip is stored and its job queued.",
            QUEUED,
            HEADERS | RETRY_AFTER,
        ),
        **problems_of(
            JOBS_PATH,
            *REFUSALS,
            *(UploadInterrupted, ClipTooLarge, MediaTypeUnsupported),
            *(ClipFieldMissing, ClipEmpty, RequestInvalid, QueueFull, QuotaExceeded),
            *(IdempotencyKeyInUse, IdempotencyKeyReused, JobUnknown, StoreFull, *AWAY),
        ),
    },
)
async def submit_job(
    request: Request,
    response: Response,
    gateway: GatewayOfApp,
    caller: Submitter,
    wanted: Annotated[Submission, Query()],
    key: Key,
    seconds: Patience,
) -> Job:
    """Streams the clip to the blob store and queues a job; the answer says where to watch it.

    With `Prefer: wait=N` it says how the job ended, if that is soon enough. With a header
    `Idempotency-Key` (see `components.parameters.IdempotencyKey`) the request may be sent again
    and again: it stays one job.
    """
    settings = gateway.settings
    max_bytes = min(settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    async with held(gateway.desk, caller, key) as taken:
        if not isinstance(taken, Earlier):  # refused before gigabytes are taken in for nothing
            await check_room(gateway, caller, min(stated_bytes(request), max_bytes))
        upload = await open_upload(request, max_bytes=max_bytes)
        if isinstance(taken, Earlier):
            record, is_new = await _compare(gateway, wanted, upload, taken), False
        else:
            record, is_new = await _take_in(gateway, caller, wanted, upload, taken)
    record = await wait_for_end(request, response, gateway, record, seconds)
    response.headers["Location"] = JOB_PATH.format(job_id=record.id)
    if not is_new:
        response.headers[REPLAYED] = "true"
    if record.state.is_final:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record, caller)


async def _compare(
    gateway: Gateway, wanted: Submission, upload: Upload, earlier: Earlier
) -> JobRecord:
    """The earlier job, if the upload is the earlier upload; nothing of it is stored."""
    fingerprint = Fingerprint(wanted)
    async for _ in fingerprint.of(upload.content):
        pass
    return await job_before(gateway.desk, earlier.job_id, fingerprint.text(), earlier.fingerprint)


async def _take_in(
    gateway: Gateway,
    caller: Caller,
    wanted: Submission,
    upload: Upload,
    reservation: Reservation | None,
) -> tuple[JobRecord, bool]:
    """Store the clip and queue its job; returns the job and whether it is new."""
    started = time.perf_counter()
    job_id = new_job_id()
    fingerprint = Fingerprint(wanted)
    content = while_there_is_room(gateway, fingerprint.of(upload.content))
    size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    record = JobRecord(
        id=job_id,
        owner=caller.owner,
        priority=wanted.priority,
        filename=upload.filename,
        media_type=upload.media_type,
        clip_bytes=size_bytes,
        trace_id=TRACE_ID.get(),
        faces=wanted.faces,
        video_stream=wanted.video_stream,
        audio_stream=wanted.audio_stream,
    )
    finished = None if reservation is None else reservation.finished(fingerprint.text())
    receipt = await _submit(gateway, caller, record, finished)
    if receipt.earlier_fingerprint is None:
        return receipt.record, True
    await gateway.store.delete(record.clip_key)
    return await job_before(
        gateway.desk, receipt.record.id, fingerprint.text(), receipt.earlier_fingerprint
    ), False


async def _submit(
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
