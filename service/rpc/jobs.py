"""JobService: the same jobs as over REST, by the same office."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from circumplex.v1 import jobs_pb2 as wire

from service.domain.caller import Caller
from service.errors import GatewayDraining, RequestInvalid
from service.jobs.record import JobState
from service.office import jobs as office
from service.office.following import follow
from service.office.gateway import Gateway
from service.office.paging import CODE, MAX_SIZE, OWNER, PLACE, USUAL_SIZE, place_of, token_of
from service.office.submission import submit_clip
from service.results.formats import JSON, format_named
from service.rpc.choosing import chosen, formed
from service.rpc.showing import show_job
from service.rpc.submission import Submission

PIECE_BYTES: Final = 2**15
"""Of a result; well below the least that a message may be bound to."""


class Jobs:
    """Its methods."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def submit_job(
        self, requests: AsyncIterator[wire.SubmitJobRequest], caller: Caller
    ) -> wire.SubmitJobResponse:
        """Take a clip in and queue its job."""
        submission = Submission(self._gateway, requests)
        await submission.begin()
        submitted = await submit_clip(
            self._gateway,
            caller,
            submission.wishes,
            open_upload=submission.open_upload,
            key=submission.key,
        )
        job = show_job(submitted.record, caller)
        return wire.SubmitJobResponse(job=job, is_replayed=submitted.is_replayed)

    async def get_job(self, request: wire.GetJobRequest, caller: Caller) -> wire.GetJobResponse:
        """The job as it stands."""
        record = await office.find_job(self._gateway, caller, request.job_id)
        return wire.GetJobResponse(job=show_job(record, caller))

    async def list_jobs(
        self, request: wire.ListJobsRequest, caller: Caller
    ) -> wire.ListJobsResponse:
        """A page of jobs, newest first."""
        if request.page_size > MAX_SIZE:
            raise RequestInvalid(f"must be at most {MAX_SIZE}", field="page_size")
        token = formed("page_token", PLACE, request.page_token)
        selection = office.choose_jobs(
            caller,
            owner=formed("owner", OWNER, request.owner),
            state=chosen("state", JobState, request.state, None),
            code=formed("code", CODE, request.code),
        )
        if selection is None:
            return wire.ListJobsResponse()
        page = await self._gateway.desk.listing.page(
            selection,
            size=request.page_size or USUAL_SIZE,
            before=None if token is None else place_of(token),
        )
        return wire.ListJobsResponse(
            jobs=[show_job(record, caller) for record in page.jobs],
            next_page_token=None if page.before is None else token_of(page.before),
        )

    async def watch_job(
        self, request: wire.WatchJobRequest, caller: Caller
    ) -> AsyncGenerator[wire.WatchJobResponse]:
        """The job now, whenever it changes, and at its end; one change may stand for several."""
        gateway = self._gateway
        with gateway.watchers.seat(gateway.settings.max_subscribers):
            record = await office.find_job(gateway, caller, request.job_id)
            async with aclosing(follow(gateway, caller, record.id)) as events:
                async for event in events:
                    if event is None:
                        continue
                    record = await gateway.desk.find(record.id)
                    yield wire.WatchJobResponse(job=show_job(record, caller))
                    if record.state.is_final:
                        return
        raise GatewayDraining

    async def cancel_job(
        self, request: wire.CancelJobRequest, caller: Caller
    ) -> wire.CancelJobResponse:
        """Take the job out of the queue, or stop the work on it."""
        record = await office.cancel_job(self._gateway, caller, request.job_id)
        return wire.CancelJobResponse(job=show_job(record, caller))

    async def retry_job(
        self, request: wire.RetryJobRequest, caller: Caller
    ) -> wire.RetryJobResponse:
        """Queue a failed or cancelled job anew."""
        record = await office.retry_job(self._gateway, caller, request.job_id)
        return wire.RetryJobResponse(job=show_job(record, caller))

    async def delete_job(
        self, request: wire.DeleteJobRequest, caller: Caller
    ) -> wire.DeleteJobResponse:
        """Delete a job, its clip and its results."""
        await office.delete_job(self._gateway, caller, request.job_id)
        return wire.DeleteJobResponse()

    async def get_result(
        self, request: wire.GetResultRequest, caller: Caller
    ) -> AsyncGenerator[wire.GetResultResponse]:
        """The result, piece by piece; a failed job ends the call with its own error."""
        form = format_named(request.format or JSON.name)
        record = await office.find_job(self._gateway, caller, request.job_id)
        if record.error is not None:
            raise record.error
        async for chunk in await office.open_result(self._gateway, record, form):
            for start in range(0, len(chunk), PIECE_BYTES):
                yield wire.GetResultResponse(data=chunk[start : start + PIECE_BYTES])
