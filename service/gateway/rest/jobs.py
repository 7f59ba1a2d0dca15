"""Routes that show, list, cancel, retry and delete jobs."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.domain.caller import Caller
from service.errors import (
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
    TooManySubscribers,
)
from service.gateway.context import GatewayContext
from service.gateway.rest.dependencies import (
    AUTH_ERRORS,
    GatewayDep,
    PreferWait,
    ReadCaller,
    SubmitCaller,
)
from service.gateway.rest.openapi import (
    CANCELLED,
    COMMON_ERRORS,
    PAGE,
    RETRIED,
    RUNNING,
    header_doc,
    problem_docs,
    response_doc,
)
from service.gateway.rest.schemas import (
    CANCEL_PATH,
    JOB_PATH,
    JOBS_PATH,
    RETRY_PATH,
    JobId,
    JobPage,
    JobResource,
    job_to_schema,
)
from service.gateway.use_cases import jobs as use_cases
from service.gateway.use_cases.follow_job import wait_for_job_end
from service.gateway.use_cases.jobs import (
    CURSOR_PATTERN,
    DEFAULT_PAGE_SIZE,
    ERROR_CODE_PATTERN,
    KEY_ID_PATTERN,
    MAX_PAGE_SIZE,
    decode_page_token,
    encode_page_token,
)
from service.jobs.record import JobRecord, JobState

POLL_INTERVAL_SECONDS: Final = 1
"""Suggested pause before a job that has not ended is requested again, seconds."""
POLL_HEADER_DOC: Final = {
    "Retry-After": header_doc("Seconds to wait before the next poll.", kind="integer")
}
PREFERENCE_APPLIED_DOC: Final = {
    "Preference-Applied": header_doc("`wait=N`: the preference to wait was applied.")
}

router = APIRouter(tags=["jobs"])


class JobListQuery(BaseModel):
    """Filter and page of a list of jobs."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(
        DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="Maximum number of jobs on a page."
    )
    page_token: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="`next_page_token` of the previous page."
    )
    state: JobState | None = Field(None, description="Only jobs in this state.")
    code: str | None = Field(
        None,
        pattern=ERROR_CODE_PATTERN,
        description="Only jobs that failed with this error code, as `attempts_exhausted`.",
    )
    owner: str | None = Field(
        None,
        pattern=KEY_ID_PATTERN,
        description="Only jobs of the API key with this id; another key's need the scope `admin`.",
    )


@router.get(
    JOBS_PATH,
    summary="List jobs",
    response_model_exclude_unset=True,
    responses={
        200: response_doc(
            "Jobs, newest first.",
            PAGE,
            {"Link": header_doc('The next page, if there is one: `<...>; rel="next"`.')},
        ),
        **problem_docs(JOBS_PATH, *AUTH_ERRORS, RequestInvalid, *COMMON_ERRORS),
    },
)
async def list_jobs(
    request: Request,
    response: Response,
    gateway: GatewayDep,
    caller: ReadCaller,
    query: Annotated[JobListQuery, Query()],
) -> JobPage:
    """Lists the caller's own jobs, newest first; callers with the scope `admin` see all jobs.

    Paging is stable: jobs that are added or deleted meanwhile cause no gaps or duplicates.
    """
    response.headers["Cache-Control"] = "no-store"
    job_filter = use_cases.build_job_filter(
        caller, owner=query.owner, state=query.state, error_code=query.code
    )
    if job_filter is None:
        return JobPage(jobs=[], next_page_token=None)
    before = None if query.page_token is None else decode_page_token(query.page_token)
    page = await gateway.job_queue.read_page(job_filter, size=query.page_size, before=before)
    token = None if page.before is None else encode_page_token(page.before)
    if token is not None:
        next_url = request.url.include_query_params(page_token=token)
        response.headers["Link"] = f'<{next_url.path}?{next_url.query}>; rel="next"'
    return JobPage(jobs=[job_to_schema(each, caller) for each in page.jobs], next_page_token=token)


@router.get(
    JOB_PATH,
    summary="Show a job",
    response_model_exclude_unset=True,
    responses={
        200: response_doc(
            "The current state of the job.", RUNNING, POLL_HEADER_DOC | PREFERENCE_APPLIED_DOC
        ),
        **problem_docs(JOB_PATH, *AUTH_ERRORS, JobUnknown, *COMMON_ERRORS),
    },
)
async def get_job(
    job_id: JobId,
    request: Request,
    response: Response,
    gateway: GatewayDep,
    caller: ReadCaller,
    wait_seconds: PreferWait,
) -> JobResource:
    """Returns state, progress, links and error; waits for the job's end with `Prefer: wait=N`."""
    record = await use_cases.find_job(gateway, caller, job_id)
    record = await wait_for_job(request, response, gateway, record, wait_seconds)
    response.headers["Cache-Control"] = "no-store"
    if not record.state.is_final:
        response.headers["Retry-After"] = str(POLL_INTERVAL_SECONDS)
    return job_to_schema(record, caller)


@router.post(
    CANCEL_PATH,
    summary="Cancel a job",
    response_model_exclude_unset=True,
    responses={
        200: response_doc("The job is cancelled, by this request or before.", CANCELLED),
        **problem_docs(CANCEL_PATH, *AUTH_ERRORS, JobUnknown, JobFinished, *COMMON_ERRORS),
    },
)
async def cancel_job(job_id: JobId, gateway: GatewayDep, caller: SubmitCaller) -> JobResource:
    """Removes the job from the queue, or stops a running job within a second."""
    return job_to_schema(await use_cases.cancel_job(gateway, caller, job_id), caller)


@router.post(
    RETRY_PATH,
    status_code=202,
    summary="Retry a failed or cancelled job",
    response_model_exclude_unset=True,
    responses={
        202: response_doc("The job is queued again.", RETRIED, POLL_HEADER_DOC),
        **problem_docs(
            RETRY_PATH,
            *AUTH_ERRORS,
            *(JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded, *COMMON_ERRORS),
        ),
    },
)
async def retry_job(
    job_id: JobId, response: Response, gateway: GatewayDep, caller: SubmitCaller
) -> JobResource:
    """Queues the job again while its clip is stored; it keeps its id and its place in lists."""
    record = await use_cases.retry_job(gateway, caller, job_id)
    response.headers["Retry-After"] = str(POLL_INTERVAL_SECONDS)
    return job_to_schema(record, caller)


@router.delete(
    JOB_PATH,
    status_code=204,
    summary="Delete a job",
    responses={
        204: response_doc("The job is deleted; its clip and results follow within seconds."),
        **problem_docs(JOB_PATH, *AUTH_ERRORS, JobUnknown, *COMMON_ERRORS),
    },
)
async def delete_job(job_id: JobId, gateway: GatewayDep, caller: SubmitCaller) -> Response:
    """Deletes a job in any state: a running job stops, and its idempotency key is free again."""
    await use_cases.delete_job(gateway, caller, job_id)
    return Response(status_code=204)


async def wait_for_job(
    request: Request,
    response: Response,
    gateway: GatewayContext,
    record: JobRecord,
    wait_seconds: int,
) -> JobRecord:
    """Apply the preference to wait for the job's end. Raises: JobUnknown: it was deleted.

    A preference is optional: with too many subscribers the response is the current state.
    """
    if not wait_seconds:
        return record
    caller: Caller = request.state.caller
    try:
        record = await wait_for_job_end(
            gateway,
            caller,
            record,
            max_seconds=wait_seconds,
            is_disconnected=request.is_disconnected,
        )
    except (QuotaExceeded, TooManySubscribers):
        return record
    response.headers["Preference-Applied"] = f"wait={wait_seconds}"
    return record
