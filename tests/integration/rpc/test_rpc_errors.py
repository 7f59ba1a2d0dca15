"""Statuses, details and trace ids of failed calls."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire
from circumplex_client.errors import RequestRefused, ServiceFailed
from circumplex_client.live.call_errors import CallInterrupted, classify_call_error

from service.errors import (
    CircumplexError,
    ModelChanged,
    ModelNotServed,
    QueueUnavailable,
    RequestInvalid,
    StoreFull,
)
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_context import (
    ANNOTATION_SERVICE,
    JOB_SERVICE,
    MODEL_SERVICE,
    list_methods,
)
from service.gateway.rpc.status import status_of
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import new_job_id
from service.settings import Settings
from service.telemetry.metric_labels import GRPC_METHODS
from tests.integration.job_environment import JobEnvironment
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    expect_error,
    make_config_request,
    make_frame_request,
    make_submit_requests,
    open_grpc_client,
    open_stream,
    read_responses,
)
from tests.integration.servers import free_port, serving_grpc

TRACE = "ab" * 16
UNKNOWN_JOB_REQUEST = wire.GetJobRequest(job_id=new_job_id())


def iterate_error_types(
    root: type[CircumplexError] = CircumplexError,
) -> Iterator[type[CircumplexError]]:
    yield root
    for subclass in root.__subclasses__():
        if subclass.__module__.startswith("service."):
            yield from iterate_error_types(subclass)


def error_code(error: type[CircumplexError]) -> str:
    return error.code


@pytest.mark.parametrize("error", sorted(set(iterate_error_types()), key=error_code))
def test_every_error_has_a_grpc_status(error: type[CircumplexError]) -> None:
    status = status_of(error())
    assert status.code is getattr(grpc.StatusCode, error.grpc_status)
    assert status.code is not grpc.StatusCode.OK


@pytest.mark.parametrize(
    "error",
    [ModelNotServed("not loaded"), ModelChanged("changed"), StoreFull(), QueueUnavailable()],
)
def test_the_client_has_the_status_of_rest_from_a_failed_call(error: CircumplexError) -> None:
    """A retry on the status alone, as of UNAVAILABLE, would not help where an operator must act."""
    status = status_of(error)
    failure = grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata(*status.metadata), status.message
    )
    found = classify_call_error(failure, "gateway:50051")
    cause = found.error if isinstance(found, CallInterrupted) else found
    assert isinstance(cause, RequestRefused | ServiceFailed)
    assert (cause.problem.code, cause.problem.status) == (error.code, error.http_status)
    assert isinstance(found, CallInterrupted) == error.retryable
    assert error.retryable or status.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_status_fits_into_a_header() -> None:
    status = status_of(RequestInvalid("é" * 100_000, field="config"))
    assert len(status.message.encode()) + sum(len(value) for _, value in status.metadata) < 8000


def test_metrics_list_every_rpc_method() -> None:
    names = [
        method.name
        for service in (ANNOTATION_SERVICE, JOB_SERVICE, MODEL_SERVICE)
        for method in list_methods(service)
    ]
    assert sorted(names) == sorted(GRPC_METHODS)


async def test_the_trace_id_of_a_call_is_taken_from_the_client_or_created(
    client: GrpcClient,
) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),)
    call = client.jobs.ListJobs(wire.ListJobsRequest(), metadata=metadata)
    await call
    another = client.jobs.ListJobs(wire.ListJobsRequest())
    await another
    error = await expect_error(client.jobs.GetJob(UNKNOWN_JOB_REQUEST, metadata=metadata))

    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    assert dict(await call.trailing_metadata())["x-trace-id"] == TRACE
    fresh = dict(await another.trailing_metadata())["x-trace-id"]
    assert len(fresh) == 32
    assert fresh != TRACE
    assert error.trace_id == TRACE


async def test_a_stream_sends_its_trace_id_with_its_first_response(client: GrpcClient) -> None:
    call = await open_stream(client, metadata=(("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),))
    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    call.cancel()


async def test_a_retryable_error_has_a_retry_delay(
    client: GrpcClient, gateway: GatewayContext, env: JobEnvironment
) -> None:
    call = await open_stream(client, "streams_full")
    full = await expect_error(call)
    initial_metadata = dict(await call.initial_metadata())
    unreachable = env.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with JobQueue.open(unreachable) as queue:
        lacking = dataclasses.replace(gateway, job_queue=queue)
        async with (
            serving_grpc(lacking, 0) as port,
            open_grpc_client(f"127.0.0.1:{port}") as other_client,
        ):
            queue_error = await expect_error(other_client.jobs.GetJob(UNKNOWN_JOB_REQUEST))

    assert (full.status, full.code, full.retry_seconds) == ("RESOURCE_EXHAUSTED", "streams_full", 2)
    assert initial_metadata
    assert (queue_error.status, queue_error.code, queue_error.retry_seconds) == (
        "UNAVAILABLE",
        "queue_unavailable",
        2,
    )


async def test_a_clip_above_the_budget_is_refused(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    settings = env.settings.model_copy(update={"store_budget_bytes": 1000})
    async with (
        serving_grpc(dataclasses.replace(gateway, settings=settings), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        error = await expect_error(client.jobs.SubmitJob(make_submit_requests()))
    assert (error.status, error.code) == (StoreFull.grpc_status, "store_full")
    assert env.list_stored_files("clips") == []


async def test_an_internal_error_is_logged_and_leaks_no_details(
    client: GrpcClient, caplog: pytest.LogCaptureFixture
) -> None:
    call = await open_stream(client, "defect")
    with caplog.at_level(logging.ERROR):
        error = await expect_error(call)

    assert (error.status, error.code) == ("INTERNAL", "internal_error")
    assert error.retry_seconds is None
    assert "secret" not in error.detail
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "a secret detail" in str(getattr(record.exc_info[1], "__cause__", ""))


async def test_an_error_of_a_stream_ends_it_with_its_status(client: GrpcClient) -> None:
    first = await expect_error(client.annotation.StreamingAnnotate(iter([make_frame_request(0)])))
    error = await expect_error(await open_stream(client, "stream_gone"))
    assert (first.status, first.code) == ("INVALID_ARGUMENT", "stream_out_of_order")
    assert (error.status, error.code) == ("NOT_FOUND", "stream_gone")


async def test_a_message_that_is_too_large_ends_its_call_alone(
    gateway: GatewayContext, settings: Settings
) -> None:
    bounded = settings.model_copy(update={"max_stream_message_bytes": 2**16})
    unbounded = {"max_send_message_length": -1}
    async with (
        serving_grpc(dataclasses.replace(gateway, settings=bounded), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}", **unbounded) as client,
    ):
        other = await open_stream(client)
        call = await open_stream(client)
        await call.write(make_frame_request(0, size=2**16 + 1))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()
        compressed = client.annotation.StreamingAnnotate(compression=grpc.Compression.Gzip)
        await compressed.write(make_config_request())
        await compressed.read()
        await compressed.write(make_frame_request(0, size=2**20))
        with pytest.raises(grpc.aio.AioRpcError) as decompressed:
            await compressed.read()
        await other.write(make_frame_request(0, size=2**15))
        assert (await other.read()).frame_result.index == 0
        await other.done_writing()
        assert [each.summary.frames async for each in read_responses(other)] == [1]

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert decompressed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_undecodable_message_is_refused(client: GrpcClient) -> None:
    send = client.channel.unary_unary(f"/{JOB_SERVICE.full_name}/GetJob")
    error = await expect_error(send(b"\xff\xff\xff"))
    unknown = client.channel.unary_unary(f"/{JOB_SERVICE.full_name}/Get")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await unknown(b"")
    assert (error.status, error.code) == ("INVALID_ARGUMENT", "request_invalid")
    assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await client.jobs.ListJobs(wire.ListJobsRequest()) == wire.ListJobsResponse()
