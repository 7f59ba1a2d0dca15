"""Jobs over REST: submit a clip, watch the job, fetch its result."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from service.api.access import REFUSALS, Reader, Submitter, find_job
from service.api.documents import TRACE_HEADER_DOCUMENT, UPLOAD_BODY, problems_of
from service.api.gateway import Gateway, GatewayOfApp
from service.api.negotiation import choose_format
from service.api.problems import answer
from service.api.room import check_budget, check_room, stated_bytes, while_there_is_room
from service.api.schemas import JOBS_PATH, ChoicesMade, Job, show_job
from service.api.uploads import open_upload
from service.domain.caller import Limits
from service.errors import (
    ClipEmpty,
    ClipError,
    ClipFieldMissing,
    ClipTooLarge,
    InternalError,
    JobUnknown,
    MediaTypeUnsupported,
    QueueFull,
    QueueUnavailable,
    QuotaExceeded,
    RequestInvalid,
    ResultFormatUnknown,
    ResultNotReady,
    StoreFull,
    StoreUnavailable,
    UploadInterrupted,
)
from service.jobs.record import JobRecord, JobState, clip_key, new_job_id
from service.results.formats import FORMATS
from service.telemetry.logs import TRACE_ID

POLL_SECONDS: Final = 1
JOB_PATH: Final = f"{JOBS_PATH}/{{job_id}}"
RESULT_PATH: Final = f"{JOB_PATH}/result"
AWAY: Final = (QueueUnavailable, StoreUnavailable, InternalError)

router = APIRouter(tags=["jobs"])


@router.post(
    JOBS_PATH,
    status_code=202,
    summary="Submit a clip",
    openapi_extra=UPLOAD_BODY,
    responses={
        202: {
            "description": "The clip is stored and its job queued.",
            "headers": TRACE_HEADER_DOCUMENT
            | {name: {"schema": {"type": "string"}} for name in ("Location", "Retry-After")},
        },
        **problems_of(
            JOBS_PATH,
            *REFUSALS,
            *(UploadInterrupted, ClipTooLarge, MediaTypeUnsupported),
            *(ClipFieldMissing, ClipEmpty, RequestInvalid, QueueFull, QuotaExceeded, StoreFull),
            *AWAY,
        ),
    },
)
async def submit_job(
    request: Request,
    response: Response,
    gateway: GatewayOfApp,
    caller: Submitter,
    choices: Annotated[ChoicesMade, Query()],
) -> Job:
    """Streams the clip to the blob store and queues a job; the answer says where to watch it."""
    started = time.perf_counter()
    settings = gateway.settings
    max_bytes = min(settings.max_upload_bytes, caller.limits.upload_bytes or sys.maxsize)
    await check_room(gateway, caller, min(stated_bytes(request), max_bytes))
    upload = await open_upload(
        request,
        max_bytes=max_bytes,
        idle_seconds=settings.upload_idle_seconds,
    )
    job_id = new_job_id()
    content = while_there_is_room(gateway, upload.content)
    size_bytes = await gateway.store.put(clip_key(job_id), content)
    seconds = time.perf_counter() - started
    gateway.metrics.stage_duration_seconds.labels(stage="upload").observe(seconds)
    record = JobRecord(
        id=job_id,
        owner=caller.owner,
        filename=upload.filename,
        media_type=upload.media_type,
        clip_bytes=size_bytes,
        trace_id=TRACE_ID.get(),
        faces=choices.faces,
        video_stream=choices.video_stream,
        audio_stream=choices.audio_stream,
    )
    record = await _submit(gateway, record, caller.limits)
    response.headers["Location"] = f"{JOBS_PATH}/{job_id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record)


@router.get(
    JOB_PATH,
    summary="Watch a job",
    responses=problems_of(JOB_PATH, *REFUSALS, JobUnknown, *AWAY),
)
async def get_job(job_id: str, response: Response, gateway: GatewayOfApp, caller: Reader) -> Job:
    """State, progress, links, and the error of a failed job."""
    record = await find_job(gateway, caller, job_id)
    response.headers["Cache-Control"] = "no-store"
    if not record.state.is_final:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record)


@router.get(
    RESULT_PATH,
    summary="Fetch the result",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The result: one value, or one row, for every decoded frame.",
            "content": {
                each.media_type: {"schema": {"type": kind}}
                for each, kind in zip(FORMATS.values(), ("object", "string"), strict=True)
            },
        },
        **problems_of(
            RESULT_PATH,
            *REFUSALS,
            *(JobUnknown, ResultNotReady, ResultFormatUnknown, ClipError),
            *AWAY,
        ),
    },
)
async def get_result(
    job_id: str,
    request: Request,
    gateway: GatewayOfApp,
    caller: Reader,
    format: str | None = Query(  # noqa: A002
        None, description=f"{' or '.join(FORMATS)}; without it, Accept decides."
    ),
) -> Response:
    """The result in the format asked for; a failed job answers its own problem."""
    chosen = choose_format(format, ", ".join(request.headers.getlist("accept")))
    record = await find_job(gateway, caller, job_id)
    if record.error is not None:
        return answer(request, record.error)  # not raised: nothing is wrong with this request
    if record.state is not JobState.SUCCEEDED:
        raise ResultNotReady(f"the job is {record.state}")
    try:
        content = await gateway.store.get(record.result_key(chosen.name))
    except KeyError as error:
        raise InternalError("the result is missing from the blob store") from error
    headers: dict[str, Any] = {
        "Content-Disposition": f'inline; filename="{record.id}.{chosen.name}"',
        "Vary": "Accept",
    }
    return StreamingResponse(content, media_type=chosen.media_type, headers=headers)


async def _submit(gateway: Gateway, record: JobRecord, limits: Limits) -> JobRecord:
    """Queue the job; a clip whose job was refused is deleted.

    Where the queue's answer was lost the job may have been accepted: its clip stays, and is
    swept if it was not.
    """
    try:
        await check_budget(gateway, record.clip_bytes)
        return (await gateway.desk.submit(record, limits=limits)).record
    except (QueueFull, QuotaExceeded, StoreFull):
        await gateway.store.delete(record.clip_key)
        raise
