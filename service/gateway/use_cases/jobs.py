"""Jobs as a caller may see and change them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from service.domain.caller import Caller, Scope
from service.errors import InternalError, JobUnknown, ResultNotReady, ScopeMissing
from service.gateway.context import GatewayContext
from service.jobs.queue.listing import JobFilter
from service.jobs.record import JobRecord, JobState, is_job_id
from service.results.formats import ResultFormat


async def find_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """A job that exists for this caller.

    Raises: JobUnknown: there is none; of somebody else's it says the very same.
    """
    if not is_job_id(job_id):
        raise JobUnknown(f"{job_id[:64]!r} is no job id")
    try:
        record = await gateway.job_queue.find(job_id)
    except JobUnknown:
        record = None
    if record is None or not caller.can_see(record.owner):
        raise JobUnknown(f"there is no job {job_id!r}")
    return record


def build_job_filter(
    caller: Caller, *, owner: str | None, state: JobState | None, error_code: str | None
) -> JobFilter | None:
    """What the caller sees of the jobs that were asked for; None where no job can be.

    Raises: ScopeMissing.
    """
    if not caller.allows(Scope.ADMIN):
        if owner not in (None, caller.owner):
            raise ScopeMissing("only an admin lists the jobs of others")
        owner = caller.owner
    if error_code is not None and state not in (None, JobState.FAILED):
        return None
    return JobFilter(owner=owner, state=state, error_code=error_code)


async def cancel_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """Stop a job, or show one that is cancelled already. Raises: JobUnknown, JobFinished."""
    await find_job(gateway, caller, job_id)
    return await gateway.job_queue.cancel(job_id)


async def retry_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """Queue a failed or cancelled job anew; somebody else's does not count against the caller.

    Raises: JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded.
    """
    record = await find_job(gateway, caller, job_id)
    limits = caller.limits if record.owner == caller.owner else None
    return await gateway.job_queue.retry(job_id, limits=limits)


async def delete_job(gateway: GatewayContext, caller: Caller, job_id: str) -> None:
    """Forget a job, whatever it is doing. Raises: JobUnknown."""
    await find_job(gateway, caller, job_id)
    await gateway.job_queue.remove(job_id)


async def open_result(
    gateway: GatewayContext, record: JobRecord, result_format: ResultFormat
) -> AsyncIterator[bytes]:
    """The bytes of the result of a job that has not failed.

    Raises: ResultNotReady, StoreUnavailable.
    """
    if record.state is not JobState.SUCCEEDED:
        raise ResultNotReady(f"the job is {record.state}")
    try:
        return await gateway.store.get(record.result_key(result_format.name))
    except KeyError as error:
        raise InternalError("the result is missing from the blob store") from error
