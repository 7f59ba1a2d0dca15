"""Watch jobs, list them, and change what becomes of them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.access import REFUSALS, Reader, Submitter
from service.api.documents import AWAY, answers, header, problems_of
from service.api.examples import CANCELLED, PAGE, RETRIED, RUNNING
from service.api.gateway import GatewayOfApp
from service.api.paging import link_to_next
from service.api.paths import CANCEL_PATH, JOB_PATH, JOBS_PATH, RETRY_PATH
from service.api.patience import APPLIED, Patience, wait_for_end
from service.api.schemas import Job, JobId, Jobs
from service.api.showing import show_job
from service.errors import (
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
)
from service.jobs.record import JobState
from service.office import jobs as office
from service.office.paging import CODE, MAX_SIZE, OWNER, PLACE, USUAL_SIZE, place_of, token_of

POLL_SECONDS: Final = 1
"""When to look again at a job that has not ended."""
RETRY_AFTER: Final = {"Retry-After": header("Seconds to the next look.", kind="integer")}

router = APIRouter(tags=["jobs"])


class Selection(BaseModel):
    """Which jobs a list shows."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(
        USUAL_SIZE, ge=1, le=MAX_SIZE, description="How many on a page, at most."
    )
    page_token: str | None = Field(
        None, pattern=PLACE, description="`next_page_token` of the page before."
    )
    state: JobState | None = Field(None, description="Only jobs in this state.")
    code: str | None = Field(
        None,
        pattern=CODE,
        description="Only jobs that failed with this code: `attempts_exhausted` are the dead ones.",
    )
    owner: str | None = Field(
        None,
        pattern=OWNER,
        description="Only jobs of this API key's id; for an admin, who sees everybody's.",
    )


@router.get(
    JOBS_PATH,
    summary="List jobs",
    response_model_exclude_unset=True,
    responses={
        200: answers(
            "Jobs, newest first.",
            PAGE,
            {"Link": header('The next page, if there is one: `<...>; rel="next"`.')},
        ),
        **problems_of(JOBS_PATH, *REFUSALS, RequestInvalid, *AWAY),
    },
)
async def list_jobs(
    request: Request,
    response: Response,
    gateway: GatewayOfApp,
    caller: Reader,
    selection: Annotated[Selection, Query()],
) -> Jobs:
    """One's own jobs, newest first, a page at a time; an admin sees everybody's.

    Each job that was there all the while is on just one page, whatever comes and goes meanwhile.
    """
    response.headers["Cache-Control"] = "no-store"
    chosen = office.choose_jobs(
        caller, owner=selection.owner, state=selection.state, code=selection.code
    )
    if chosen is None:
        return Jobs(jobs=[], next_page_token=None)
    before = None if selection.page_token is None else place_of(selection.page_token)
    page = await gateway.desk.listing.page(chosen, size=selection.page_size, before=before)
    token = None if page.before is None else token_of(page.before)
    if token is not None:
        response.headers["Link"] = link_to_next(request, token)
    return Jobs(jobs=[show_job(each, caller) for each in page.jobs], next_page_token=token)


@router.get(
    JOB_PATH,
    summary="Watch a job",
    response_model_exclude_unset=True,
    responses={
        200: answers("The job as it stands.", RUNNING, RETRY_AFTER | APPLIED),
        **problems_of(JOB_PATH, *REFUSALS, JobUnknown, *AWAY),
    },
)
async def get_job(
    job_id: JobId,
    request: Request,
    response: Response,
    gateway: GatewayOfApp,
    caller: Reader,
    seconds: Patience,
) -> Job:
    """State, progress, links, and the error of a failed job; with `Prefer: wait=N` its end."""
    record = await office.find_job(gateway, caller, job_id)
    record = await wait_for_end(request, response, gateway, record, seconds)
    response.headers["Cache-Control"] = "no-store"
    if not record.state.is_final:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record, caller)


@router.post(
    CANCEL_PATH,
    summary="Cancel a job",
    response_model_exclude_unset=True,
    responses={
        200: answers("The job is cancelled, now or before.", CANCELLED),
        **problems_of(CANCEL_PATH, *REFUSALS, JobUnknown, JobFinished, *AWAY),
    },
)
async def cancel_job(job_id: JobId, gateway: GatewayOfApp, caller: Submitter) -> Job:
    """Takes the job out of the queue, or stops the work on it within a second."""
    return show_job(await office.cancel_job(gateway, caller, job_id), caller)


@router.post(
    RETRY_PATH,
    status_code=202,
    summary="Try a failed or cancelled job again",
    response_model_exclude_unset=True,
    responses={
        202: answers("The job is queued anew.", RETRIED, RETRY_AFTER),
        **problems_of(
            RETRY_PATH,
            *REFUSALS,
            *(JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded, *AWAY),
        ),
    },
)
async def retry_job(
    job_id: JobId, response: Response, gateway: GatewayOfApp, caller: Submitter
) -> Job:
    """Possible as long as the clip is kept; the job keeps its id and its place in lists."""
    record = await office.retry_job(gateway, caller, job_id)
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return show_job(record, caller)


@router.delete(
    JOB_PATH,
    status_code=204,
    summary="Delete a job",
    responses={
        204: answers("The job is gone; its clip and results go within seconds."),
        **problems_of(JOB_PATH, *REFUSALS, JobUnknown, *AWAY),
    },
)
async def delete_job(job_id: JobId, gateway: GatewayOfApp, caller: Submitter) -> Response:
    """Whatever it is doing: work on it stops, its idempotency key is free again."""
    await office.delete_job(gateway, caller, job_id)
    return Response(status_code=204)
