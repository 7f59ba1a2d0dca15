"""Watch jobs, list them, and change what becomes of them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.errors import (
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
)
from service.gateway.rest.dependencies import AUTH_ERRORS, GatewayDep, ReadCaller, SubmitCaller
from service.gateway.rest.openapi import COMMON_ERRORS, header_doc, problem_docs, response_doc
from service.gateway.rest.openapi_examples import CANCELLED, PAGE, RETRIED, RUNNING
from service.gateway.rest.prefer_wait import PREFERENCE_APPLIED_DOC, PreferWait, wait_for_job
from service.gateway.rest.schemas import Job, JobId, JobPage
from service.gateway.rest.serializers import job_to_schema
from service.gateway.rest.urls import CANCEL_PATH, JOB_PATH, JOBS_PATH, RETRY_PATH, format_next_link
from service.gateway.use_cases import jobs as office
from service.gateway.use_cases.pagination import (
    CURSOR_PATTERN,
    DEFAULT_PAGE_SIZE,
    ERROR_CODE_PATTERN,
    KEY_ID_PATTERN,
    MAX_PAGE_SIZE,
    decode_page_token,
    encode_page_token,
)
from service.jobs.record import JobState

POLL_INTERVAL_SECONDS: Final = 1
"""When to look again at a job that has not ended."""
POLL_HEADER_DOC: Final = {"Retry-After": header_doc("Seconds to the next look.", kind="integer")}

router = APIRouter(tags=["jobs"])


class JobListQuery(BaseModel):
    """Which jobs a list shows."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(
        DEFAULT_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE, description="How many on a page, at most."
    )
    page_token: str | None = Field(
        None, pattern=CURSOR_PATTERN, description="`next_page_token` of the page before."
    )
    state: JobState | None = Field(None, description="Only jobs in this state.")
    code: str | None = Field(
        None,
        pattern=ERROR_CODE_PATTERN,
        description="Only jobs that failed with this code: `attempts_exhausted` are the dead ones.",
    )
    owner: str | None = Field(
        None,
        pattern=KEY_ID_PATTERN,
        description="Only jobs of this API key's id; for an admin, who sees everybody's.",
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
    """One's own jobs, newest first, a page at a time; an admin sees everybody's.

    Each job that was there all the while is on just one page, whatever comes and goes meanwhile.
    """
    response.headers["Cache-Control"] = "no-store"
    job_filter = office.build_job_filter(
        caller, owner=query.owner, state=query.state, error_code=query.code
    )
    if job_filter is None:
        return JobPage(jobs=[], next_page_token=None)
    before = None if query.page_token is None else decode_page_token(query.page_token)
    page = await gateway.job_queue.listing.read_page(
        job_filter, size=query.page_size, before=before
    )
    token = None if page.before is None else encode_page_token(page.before)
    if token is not None:
        response.headers["Link"] = format_next_link(request, token)
    return JobPage(jobs=[job_to_schema(each, caller) for each in page.jobs], next_page_token=token)


@router.get(
    JOB_PATH,
    summary="Watch a job",
    response_model_exclude_unset=True,
    responses={
        200: response_doc(
            "The job as it stands.", RUNNING, POLL_HEADER_DOC | PREFERENCE_APPLIED_DOC
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
) -> Job:
    """State, progress, links, and the error of a failed job; with `Prefer: wait=N` its end."""
    record = await office.find_job(gateway, caller, job_id)
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
        200: response_doc("The job is cancelled, now or before.", CANCELLED),
        **problem_docs(CANCEL_PATH, *AUTH_ERRORS, JobUnknown, JobFinished, *COMMON_ERRORS),
    },
)
async def cancel_job(job_id: JobId, gateway: GatewayDep, caller: SubmitCaller) -> Job:
    """Takes the job out of the queue, or stops the work on it within a second."""
    return job_to_schema(await office.cancel_job(gateway, caller, job_id), caller)


@router.post(
    RETRY_PATH,
    status_code=202,
    summary="Try a failed or cancelled job again",
    response_model_exclude_unset=True,
    responses={
        202: response_doc("The job is queued anew.", RETRIED, POLL_HEADER_DOC),
        **problem_docs(
            RETRY_PATH,
            *AUTH_ERRORS,
            *(JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded, *COMMON_ERRORS),
        ),
    },
)
async def retry_job(
    job_id: JobId, response: Response, gateway: GatewayDep, caller: SubmitCaller
) -> Job:
    """Possible as long as the clip is kept; the job keeps its id and its place in lists."""
    record = await office.retry_job(gateway, caller, job_id)
    response.headers["Retry-After"] = str(POLL_INTERVAL_SECONDS)
    return job_to_schema(record, caller)


@router.delete(
    JOB_PATH,
    status_code=204,
    summary="Delete a job",
    responses={
        204: response_doc("The job is gone; its clip and results go within seconds."),
        **problem_docs(JOB_PATH, *AUTH_ERRORS, JobUnknown, *COMMON_ERRORS),
    },
)
async def delete_job(job_id: JobId, gateway: GatewayDep, caller: SubmitCaller) -> Response:
    """Whatever it is doing: work on it stops, its idempotency key is free again."""
    await office.delete_job(gateway, caller, job_id)
    return Response(status_code=204)
