"""Watch jobs, list them, and change what becomes of them."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service.api.access import REFUSALS, Reader, Submitter, find_job
from service.api.documents import AWAY, answers, header, problems_of
from service.api.examples import CANCELLED, PAGE, RETRIED, RUNNING
from service.api.gateway import GatewayOfApp
from service.api.paging import PLACE, link_to_next, place_of, token_of
from service.api.paths import CANCEL_PATH, JOB_PATH, JOBS_PATH, RETRY_PATH
from service.api.patience import APPLIED, Patience, wait_for_end
from service.api.schemas import Job, JobId, Jobs
from service.api.showing import show_job
from service.domain.caller import Caller, Scope
from service.errors import (
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
    RequestInvalid,
    ScopeMissing,
)
from service.jobs.listing import Filter
from service.jobs.record import JobState

POLL_SECONDS: Final = 1
"""When to look again at a job that has not ended."""
RETRY_AFTER: Final = {"Retry-After": header("Seconds to the next look.", kind="integer")}

router = APIRouter(tags=["jobs"])


class Selection(BaseModel):
    """Which jobs a list shows."""

    model_config = ConfigDict(extra="forbid")

    page_size: int = Field(50, ge=1, le=200, description="How many on a page, at most.")
    page_token: str | None = Field(
        None, pattern=PLACE, description="`next_page_token` of the page before."
    )
    state: JobState | None = Field(None, description="Only jobs in this state.")
    code: str | None = Field(
        None,
        pattern=r"^[a-z_]{1,64}$",
        description="Only jobs that failed with this code: `attempts_exhausted` are the dead ones.",
    )
    owner: str | None = Field(
        None,
        pattern=r"^[0-9A-Za-z]{1,64}$",
        description="Only jobs of this API key's id; for an admin, who sees everybody's.",
    )

    def filter_for(self, caller: Caller) -> Filter | None:
        """The same, of what the caller sees; None where no job can be. Raises ScopeMissing."""
        if not caller.allows(Scope.ADMIN):
            if self.owner not in (None, caller.owner):
                raise ScopeMissing("only an admin lists the jobs of others")
            return self._filter(caller.owner)
        return self._filter(self.owner)

    def _filter(self, owner: str | None) -> Filter | None:
        if self.code is not None and self.state not in (None, JobState.FAILED):
            return None
        return Filter(owner=owner, state=self.state, error_code=self.code)


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
    chosen = selection.filter_for(caller)
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
    record = await find_job(gateway, caller, job_id)
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
    await find_job(gateway, caller, job_id)
    return show_job(await gateway.desk.cancel(job_id), caller)


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
    record = await find_job(gateway, caller, job_id)
    limits = caller.limits if record.owner == caller.owner else None
    record = await gateway.desk.retry(job_id, limits=limits)
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
    await find_job(gateway, caller, job_id)
    await gateway.desk.remove(job_id)
    return Response(status_code=204)
