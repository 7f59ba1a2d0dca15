"""The route that submits a clip."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from service.errors import (
    ClipEmpty,
    ClipFieldMissing,
    ClipTooLarge,
    FormTooLarge,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    JobUnknown,
    MediaTypeUnsupported,
    ModelChanged,
    ModelNotServed,
    ModelsMissing,
    ModelUnknown,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
    StoreFull,
    UploadInterrupted,
)
from service.gateway.rest.dependencies import (
    AUTH_ERRORS,
    GatewayDep,
    IdempotencyKey,
    PreferWait,
    SingleParameters,
    SubmitCaller,
)
from service.gateway.rest.jobs import (
    POLL_HEADER_DOC,
    POLL_INTERVAL_SECONDS,
    PREFERENCE_APPLIED_DOC,
    wait_for_job,
)
from service.gateway.rest.openapi import (
    COMMON_ERRORS,
    QUEUED,
    SUCCEEDED,
    UPLOAD_REQUEST_DOC,
    header_doc,
    problem_docs,
    response_doc,
)
from service.gateway.rest.schemas import (
    JOB_PATH,
    JOBS_PATH,
    JobResource,
    SubmissionQuery,
    job_to_schema,
)
from service.gateway.rest.uploads import declared_bytes, open_upload
from service.gateway.use_cases.submit_clip import submit_clip

REPLAYED_HEADER: Final = "Idempotency-Replayed"
RESPONSE_HEADER_DOCS: Final = {
    "Location": header_doc("Path of the job."),
    REPLAYED_HEADER: header_doc("`true`: the job of an earlier request with the same key."),
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
        200: response_doc(
            "The job has already ended.", SUCCEEDED, RESPONSE_HEADER_DOCS, model=JobResource
        ),
        202: response_doc(
            "The clip is stored and its job is queued.",
            QUEUED,
            RESPONSE_HEADER_DOCS | POLL_HEADER_DOC,
        ),
        **problem_docs(
            JOBS_PATH,
            *AUTH_ERRORS,
            *(UploadInterrupted, ClipTooLarge, FormTooLarge, MediaTypeUnsupported),
            *(ClipFieldMissing, ClipEmpty, RequestInvalid, QueueFull, QuotaExceeded),
            *(IdempotencyKeyInUse, IdempotencyKeyReused, JobUnknown, StoreFull, *COMMON_ERRORS),
            *(ModelUnknown, ModelNotServed, ModelChanged, ModelsMissing),
        ),
    },
)
async def submit_job(
    request: Request,
    response: Response,
    gateway: GatewayDep,
    caller: SubmitCaller,
    query: Annotated[SubmissionQuery, Query()],
    _single: SingleParameters,
    idempotency_key: IdempotencyKey,
    wait_seconds: PreferWait,
) -> JobResource:
    """Streams the clip to the blob store and queues a job; `Location` is the path of the job.

    With `Prefer: wait=N` the response waits up to N seconds for the job's end. With a header
    `Idempotency-Key` (see `components.parameters.IdempotencyKey`) the request can be repeated
    safely: it creates one job. In a form, the options may be text fields instead of parameters.
    """
    submitted = await submit_clip(
        gateway,
        caller,
        query.options,
        open_upload=partial(open_upload, request, query),
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
