"""Jobs as a caller may see and change them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from service.domain.caller import Caller, Scope
from service.errors import InternalError, JobUnknown, ResultNotReady, ScopeMissing
from service.jobs.listing import Filter
from service.jobs.record import JobRecord, JobState, is_job_id
from service.office.gateway import Gateway
from service.results.formats import Format


async def find_job(gateway: Gateway, caller: Caller, job_id: str) -> JobRecord:
    """A job that exists for this caller.

    Raises: JobUnknown: there is none; of somebody else's it says the very same.
    """
    if not is_job_id(job_id):
        raise JobUnknown(f"{job_id[:64]!r} is no job id")
    try:
        record = await gateway.desk.find(job_id)
    except JobUnknown:
        record = None
    if record is None or not caller.sees(record.owner):
        raise JobUnknown(f"there is no job {job_id!r}")
    return record


def choose_jobs(
    caller: Caller, *, owner: str | None, state: JobState | None, code: str | None
) -> Filter | None:
    """What the caller sees of the jobs that were asked for; None where no job can be.

    Raises: ScopeMissing.
    """
    if not caller.allows(Scope.ADMIN):
        if owner not in (None, caller.owner):
            raise ScopeMissing("only an admin lists the jobs of others")
        owner = caller.owner
    if code is not None and state not in (None, JobState.FAILED):
        return None
    return Filter(owner=owner, state=state, error_code=code)


async def cancel_job(gateway: Gateway, caller: Caller, job_id: str) -> JobRecord:
    """Stop a job, or show one that is cancelled already. Raises: JobUnknown, JobFinished."""
    await find_job(gateway, caller, job_id)
    return await gateway.desk.cancel(job_id)


async def retry_job(gateway: Gateway, caller: Caller, job_id: str) -> JobRecord:
    """Queue a failed or cancelled job anew; somebody else's does not count against the caller.

    Raises: JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded.
    """
    record = await find_job(gateway, caller, job_id)
    limits = caller.limits if record.owner == caller.owner else None
    return await gateway.desk.retry(job_id, limits=limits)


async def delete_job(gateway: Gateway, caller: Caller, job_id: str) -> None:
    """Forget a job, whatever it is doing. Raises: JobUnknown."""
    await find_job(gateway, caller, job_id)
    await gateway.desk.remove(job_id)


async def open_result(gateway: Gateway, record: JobRecord, chosen: Format) -> AsyncIterator[bytes]:
    """The bytes of the result of a job that has not failed.

    Raises: ResultNotReady, StoreUnavailable.
    """
    if record.state is not JobState.SUCCEEDED:
        raise ResultNotReady(f"the job is {record.state}")
    try:
        return await gateway.store.get(record.result_key(chosen.name))
    except KeyError as error:
        raise InternalError("the result is missing from the blob store") from error
