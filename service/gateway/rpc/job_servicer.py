"""JobService: jobs over gRPC, by the use cases that REST has too."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from circumplex.v1 import jobs_pb2 as wire

from service.domain.caller import Caller
from service.errors import GatewayDraining, RequestInvalid
from service.gateway.context import GatewayContext
from service.gateway.rpc.job_messages import SubmitCall, job_to_proto, parse_enum, parse_pattern
from service.gateway.use_cases import jobs
from service.gateway.use_cases.follow_job import watch_job
from service.gateway.use_cases.jobs import (
    CURSOR_PATTERN,
    DEFAULT_PAGE_SIZE,
    ERROR_CODE_PATTERN,
    KEY_ID_PATTERN,
    MAX_PAGE_SIZE,
    decode_page_token,
    encode_page_token,
)
from service.gateway.use_cases.submit_clip import submit_clip
from service.jobs.record import JobState
from service.results.formats import JSON, find_format

RESULT_CHUNK_BYTES: Final = 2**15
"""Bytes of a result in one message; well below the smallest `max_stream_message_bytes`."""


class JobServicer:
    """Methods of JobService."""

    def __init__(self, gateway: GatewayContext) -> None:
        self._gateway = gateway

    async def submit_job(
        self, requests: AsyncIterator[wire.SubmitJobRequest], caller: Caller
    ) -> wire.SubmitJobResponse:
        """Store a clip and queue its job."""
        call = SubmitCall(self._gateway, requests)
        await call.read_options()
        submitted = await submit_clip(
            self._gateway,
            caller,
            call.submission_options,
            open_upload=call.open_upload,
            idempotency_key=call.idempotency_key,
        )
        job = job_to_proto(submitted.record, caller)
        return wire.SubmitJobResponse(job=job, is_replayed=submitted.is_replayed)

    async def get_job(self, request: wire.GetJobRequest, caller: Caller) -> wire.GetJobResponse:
        """Return a job."""
        record = await jobs.find_job(self._gateway, caller, request.job_id)
        return wire.GetJobResponse(job=job_to_proto(record, caller))

    async def list_jobs(
        self, request: wire.ListJobsRequest, caller: Caller
    ) -> wire.ListJobsResponse:
        """Return a page of jobs, newest first."""
        if request.page_size > MAX_PAGE_SIZE:
            raise RequestInvalid(f"must be at most {MAX_PAGE_SIZE}", field="page_size")
        token = parse_pattern("page_token", CURSOR_PATTERN, request.page_token)
        job_filter = jobs.build_job_filter(
            caller,
            owner=parse_pattern("owner", KEY_ID_PATTERN, request.owner),
            state=parse_enum("state", JobState, request.state, None),
            error_code=parse_pattern("code", ERROR_CODE_PATTERN, request.code),
        )
        if job_filter is None:
            return wire.ListJobsResponse()
        page = await self._gateway.job_queue.read_page(
            job_filter,
            size=request.page_size or DEFAULT_PAGE_SIZE,
            before=None if token is None else decode_page_token(token),
        )
        return wire.ListJobsResponse(
            jobs=[job_to_proto(record, caller) for record in page.jobs],
            next_page_token=None if page.before is None else encode_page_token(page.before),
        )

    async def watch_job(
        self, request: wire.WatchJobRequest, caller: Caller
    ) -> AsyncGenerator[wire.WatchJobResponse]:
        """Yield the job now, at changes, some of them combined, and at its end."""
        gateway = self._gateway
        with gateway.subscriber_limiter.subscription(caller, gateway.settings):
            record = await jobs.find_job(gateway, caller, request.job_id)
            async with aclosing(watch_job(gateway, caller, record.id)) as events:
                async for event in events:
                    if event is None:
                        continue
                    record = await gateway.job_queue.find(record.id)
                    yield wire.WatchJobResponse(job=job_to_proto(record, caller))
                    if record.state.is_final:
                        return
        raise GatewayDraining

    async def cancel_job(
        self, request: wire.CancelJobRequest, caller: Caller
    ) -> wire.CancelJobResponse:
        """Remove a job from the queue, or stop the work on it."""
        record = await jobs.cancel_job(self._gateway, caller, request.job_id)
        return wire.CancelJobResponse(job=job_to_proto(record, caller))

    async def retry_job(
        self, request: wire.RetryJobRequest, caller: Caller
    ) -> wire.RetryJobResponse:
        """Queue a failed or cancelled job again."""
        record = await jobs.retry_job(self._gateway, caller, request.job_id)
        return wire.RetryJobResponse(job=job_to_proto(record, caller))

    async def delete_job(
        self, request: wire.DeleteJobRequest, caller: Caller
    ) -> wire.DeleteJobResponse:
        """Delete a job, its clip and its results."""
        await jobs.delete_job(self._gateway, caller, request.job_id)
        return wire.DeleteJobResponse()

    async def get_result(
        self, request: wire.GetResultRequest, caller: Caller
    ) -> AsyncGenerator[wire.GetResultResponse]:
        """Yield the result in chunks; a failed job ends the call with the job's error."""
        result_format = find_format(request.format or JSON.name)
        record = await jobs.find_job(self._gateway, caller, request.job_id)
        if record.error is not None:
            raise record.error
        async for chunk in await jobs.open_result(self._gateway, record, result_format):
            for start in range(0, len(chunk), RESULT_CHUNK_BYTES):
                yield wire.GetResultResponse(data=chunk[start : start + RESULT_CHUNK_BYTES])
