"""Finding, listing, changing and deleting the jobs that a caller may see."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from service.domain.caller import Caller, Scope
from service.errors import InternalError, JobUnknown, ResultNotReady, ScopeMissing
from service.gateway.context import GatewayContext
from service.jobs.queue.database import JobFilter
from service.jobs.record import JobRecord, JobState, is_job_id
from service.results.formats import ResultFormat

CURSOR_PATTERN: Final = r"^[0-9a-f]{16}$"
"""Every matching text is a page token: microseconds since the epoch, where the page begins."""
MICROSECONDS_PER_SECOND: Final = 10**6
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
"""Jobs on a page."""
ERROR_CODE_PATTERN: Final = r"^[a-z_]{1,64}$"
KEY_ID_PATTERN: Final = r"^[0-9A-Za-z]{1,64}$"


async def find_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """Find a job that the caller may see.

    Raises: JobUnknown: no such job. A job of another owner gives the same error, so that job ids
        cannot be probed.
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
    """Restrict a list to the jobs that the caller may see; None if no job can match.

    Raises: ScopeMissing: another owner's jobs need the scope `admin`.
    """
    if not caller.allows(Scope.ADMIN):
        if owner not in (None, caller.owner):
            raise ScopeMissing("listing the jobs of another owner needs the scope 'admin'")
        owner = caller.owner
    if error_code is not None and state not in (None, JobState.FAILED):
        return None
    return JobFilter(owner=owner, state=state, error_code=error_code)


async def cancel_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """Cancel a job; no effect on a cancelled one. Raises: JobUnknown, JobFinished."""
    await find_job(gateway, caller, job_id)
    return await gateway.job_queue.cancel(job_id)


async def retry_job(gateway: GatewayContext, caller: Caller, job_id: str) -> JobRecord:
    """Queue a failed or cancelled job again.

    The caller's quotas apply to the caller's own jobs only.

    Raises: JobUnknown, JobNotRetryable, QueueFull, QuotaExceeded.
    """
    record = await find_job(gateway, caller, job_id)
    limits = caller.limits if record.owner == caller.owner else None
    return await gateway.job_queue.retry(job_id, limits=limits)


async def delete_job(gateway: GatewayContext, caller: Caller, job_id: str) -> None:
    """Delete a job in any state, with its clip and results. Raises: JobUnknown."""
    await find_job(gateway, caller, job_id)
    await gateway.job_queue.remove(job_id)


async def open_result(
    gateway: GatewayContext, record: JobRecord, result_format: ResultFormat
) -> AsyncIterator[bytes]:
    """Open the result of a job that has not failed, as a stream of bytes.

    Raises: ResultNotReady, StoreUnavailable.
    """
    if record.state is not JobState.SUCCEEDED:
        raise ResultNotReady(f"the job is {record.state}")
    try:
        return await gateway.store.get(record.result_key(result_format.name))
    except KeyError as error:
        raise InternalError("the result is missing from the blob store") from error


def encode_page_token(before: str) -> str:
    """The token of the page of jobs created before a time, in seconds with six decimals."""
    return f"{int(before.replace('.', '')):016x}"


def decode_page_token(token: str) -> str:
    """The time that `encode_page_token` was given."""
    assert re.fullmatch(CURSOR_PATTERN, token)
    seconds, microseconds = divmod(int(token, 16), MICROSECONDS_PER_SECOND)
    return f"{seconds}.{microseconds:06d}"
