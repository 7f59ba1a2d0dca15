"""Submit a clip."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

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
from service.gateway.rest.dependencies import AUTH_ERRORS, GatewayDep, SubmitCaller
from service.gateway.rest.idempotency_header import REPLAYED_HEADER, IdempotencyKey
from service.gateway.rest.jobs import POLL_HEADER_DOC, POLL_INTERVAL_SECONDS
from service.gateway.rest.openapi import (
    COMMON_ERRORS,
    UPLOAD_REQUEST_DOC,
    header_doc,
    problem_docs,
    response_doc,
)
from service.gateway.rest.openapi_examples import QUEUED, SUCCEEDED
from service.gateway.rest.prefer_wait import PREFERENCE_APPLIED_DOC, PreferWait, wait_for_job
from service.gateway.rest.schemas import Job, SubmissionQuery
from service.gateway.rest.serializers import job_to_schema
from service.gateway.rest.uploads import declared_bytes, open_upload
from service.gateway.rest.urls import JOB_PATH, JOBS_PATH
from service.gateway.use_cases.submit_clip import submit_clip

RESPONSE_HEADER_DOCS: Final = {
    "Location": header_doc("Where to watch the job."),
    REPLAYED_HEADER: header_doc("`true`: the job is that of an earlier request with the same key."),
    **PREFERENCE_APPLIED_DOC,
}

router = APIRouter(tags=["jobs"])


@router.post(
    JOBS_PATH,
    status_code=202,
    summary="Submit a clip",
    response_model_exclude_unset=True,
    openapi_extra=UPLOAD_REQUEST_DOC,
    responses={
        200: response_doc("The job has ended already.", SUCCEEDED, RESPONSE_HEADER_DOCS, model=Job),
        202: response_doc(
            "The clip is stored and its job queued.",
            QUEUED,
            RESPONSE_HEADER_DOCS | POLL_HEADER_DOC,
        ),
        **problem_docs(
            JOBS_PATH,
            *AUTH_ERRORS,
            *(UploadInterrupted, ClipTooLarge, MediaTypeUnsupported),
            *(ClipFieldMissing, ClipEmpty, RequestInvalid, QueueFull, QuotaExceeded),
            *(IdempotencyKeyInUse, IdempotencyKeyReused, JobUnknown, StoreFull, *COMMON_ERRORS),
        ),
    },
)
async def submit_job(
    request: Request,
    response: Response,
    gateway: GatewayDep,
    caller: SubmitCaller,
    query: Annotated[SubmissionQuery, Query()],
    idempotency_key: IdempotencyKey,
    wait_seconds: PreferWait,
) -> Job:
    """Streams the clip to the blob store and queues a job; the answer says where to watch it.

    With `Prefer: wait=N` it says how the job ended, if that is soon enough. With a header
    `Idempotency-Key` (see `components.parameters.IdempotencyKey`) the request may be sent again
    and again: it stays one job.
    """
    submitted = await submit_clip(
        gateway,
        caller,
        query.options,
        open_upload=partial(open_upload, request),
        idempotency_key=idempotency_key,
        declared_bytes=declared_bytes(request),
    )
    record = await wait_for_job(request, response, gateway, submitted.record, wait_seconds)
    response.headers["Location"] = JOB_PATH.format(job_id=record.id)
    if submitted.is_replayed:
        response.headers[REPLAYED_HEADER] = "true"
    if record.state.is_final:
        response.status_code = 200
    else:
        response.headers["Retry-After"] = str(POLL_INTERVAL_SECONDS)
    return job_to_schema(record, caller)
