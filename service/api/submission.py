"""Submit a clip."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from service.api.access import REFUSALS, Submitter
from service.api.documents import AWAY, UPLOAD_BODY, answers, header, problems_of
from service.api.examples import QUEUED, SUCCEEDED
from service.api.gateway import GatewayOfApp
from service.api.idempotency import REPLAYED, Key
from service.api.jobs import POLL_SECONDS, RETRY_AFTER
from service.api.paths import JOB_PATH, JOBS_PATH
from service.api.patience import APPLIED, Patience, wait_for_end
from service.api.schemas import Job, Submission
from service.api.showing import show_job
from service.api.uploads import open_upload, stated_bytes
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
from service.office.submission import submit_clip

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
    submitted = await submit_clip(
        gateway,
        caller,
        wanted.wishes,
        open_upload=partial(open_upload, request),
        key=key,
        stated_bytes=stated_bytes(request),
    )
    record = await wait_for_end(request, response, gateway, submitted.record, seconds)
    response.headers["Location"] = JOB_PATH.format(job_id=record.id)
    if submitted.is_replayed:
        response.headers[REPLAYED] = "true"
    if record.state.is_final:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record, caller)
