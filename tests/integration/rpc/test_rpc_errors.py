"""What a client is told when something is wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire

from service.errors import CircumplexError, RequestInvalid, StoreFull
from service.gateway.context import GatewayContext
from service.gateway.rpc.method_table import ANNOTATION_SERVICE, JOB_SERVICE, list_methods
from service.gateway.rpc.server import serve_grpc
from service.gateway.rpc.status import status_of
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import new_job_id
from service.settings import Settings
from service.telemetry.metrics import GRPC_METHODS
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
from tests.integration.servers import free_port

TRACE = "ab" * 16
UNKNOWN_JOB_REQUEST = wire.GetJobRequest(job_id=new_job_id())


def iterate_error_types(
    root: type[CircumplexError] = CircumplexError,
) -> Iterator[type[CircumplexError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("service."):
            yield from iterate_error_types(child)


@pytest.mark.parametrize("error", sorted(set(iterate_error_types()), key=lambda each: each.code))
def test_every_error_has_a_status_of_grpc(error: type[CircumplexError]) -> None:
    told = status_of(error())
    assert told.code is getattr(grpc.StatusCode, error.grpc_status)
    assert told.code is not grpc.StatusCode.OK


def test_a_status_fits_into_a_header() -> None:
    told = status_of(RequestInvalid("é" * 100_000, field="config"))
    assert len(told.message.encode()) + sum(len(value) for _, value in told.metadata) < 8000


def test_metrics_know_every_method() -> None:
    names = [
        method.name
        for service in (ANNOTATION_SERVICE, JOB_SERVICE)
        for method in list_methods(service)
    ]
    assert sorted(names) == sorted(GRPC_METHODS)


async def test_the_trace_of_a_call_is_the_clients_or_a_new_one(client: GrpcClient) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),)
    call = client.jobs.ListJobs(wire.ListJobsRequest(), metadata=metadata)
    await call
    another = client.jobs.ListJobs(wire.ListJobsRequest())
    await another
    told = await expect_error(client.jobs.GetJob(UNKNOWN_JOB_REQUEST, metadata=metadata))

    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    assert dict(await call.trailing_metadata())["x-trace-id"] == TRACE
    fresh = dict(await another.trailing_metadata())["x-trace-id"]
    assert len(fresh) == 32
    assert fresh != TRACE
    assert told.trace_id == TRACE


async def test_a_stream_sends_its_trace_id_with_its_first_response(client: GrpcClient) -> None:
    call = await open_stream(client, metadata=(("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),))
    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    call.cancel()


async def test_a_retryable_error_has_a_retry_delay(
    client: GrpcClient, gateway: GatewayContext, env: JobEnvironment
) -> None:
    call = await open_stream(client, "streams_full")
    full = await expect_error(call)
    early = dict(await call.initial_metadata())
    nowhere = env.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with JobQueue.open(nowhere) as desk:
        lacking = dataclasses.replace(gateway, job_queue=desk)
        async with (
            serve_grpc(lacking, 0) as port,
            open_grpc_client(f"127.0.0.1:{port}") as elsewhere,
        ):
            away = await expect_error(elsewhere.jobs.GetJob(UNKNOWN_JOB_REQUEST))

    assert (full.status, full.code, full.retry_seconds) == ("RESOURCE_EXHAUSTED", "streams_full", 2)
    assert early
    assert (away.status, away.code, away.retry_seconds) == ("UNAVAILABLE", "queue_unavailable", 2)


async def test_a_clip_above_the_budget_is_refused(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    settings = env.settings.model_copy(update={"store_budget_bytes": 1000})
    async with (
        serve_grpc(dataclasses.replace(gateway, settings=settings), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        told = await expect_error(client.jobs.SubmitJob(make_submit_requests()))
    assert (told.status, told.code) == (StoreFull.grpc_status, "store_full")
    assert env.list_stored_files("clips") == []


async def test_an_internal_error_is_logged_and_leaks_no_details(
    client: GrpcClient, caplog: pytest.LogCaptureFixture
) -> None:
    call = await open_stream(client, "defect")
    with caplog.at_level(logging.ERROR):
        told = await expect_error(call)

    assert (told.status, told.code) == ("INTERNAL", "internal_error")
    assert told.retry_seconds is None
    assert "secret" not in told.detail
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "secret of the house" in str(getattr(record.exc_info[1], "__cause__", ""))


async def test_an_error_of_a_stream_ends_it_with_its_status(client: GrpcClient) -> None:
    first = await expect_error(client.annotation.StreamingAnnotate(iter([make_frame_request(0)])))
    gone = await open_stream(client, "stream_gone")
    told = await expect_error(gone)
    assert (first.status, first.code) == ("INVALID_ARGUMENT", "stream_out_of_order")
    assert (told.status, told.code) == ("NOT_FOUND", "stream_gone")


async def test_a_message_that_is_too_large_ends_its_call_alone(
    gateway: GatewayContext, settings: Settings
) -> None:
    bounded = settings.model_copy(update={"max_stream_message_bytes": 2**16})
    unbounded = {"max_send_message_length": -1}
    async with (
        serve_grpc(dataclasses.replace(gateway, settings=bounded), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}", **unbounded) as client,
    ):
        well = await open_stream(client)
        call = await open_stream(client)
        await call.write(make_frame_request(0, size=2**16 + 1))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()
        zipped = client.annotation.StreamingAnnotate(compression=grpc.Compression.Gzip)
        await zipped.write(make_config_request())
        await zipped.read()
        await zipped.write(make_frame_request(0, size=2**20))
        with pytest.raises(grpc.aio.AioRpcError) as bomb:
            await zipped.read()
        await well.write(make_frame_request(0, size=2**15))
        assert (await well.read()).frame_result.index == 0
        await well.done_writing()
        assert [each.summary.frames async for each in read_responses(well)] == [1]

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bomb.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_undecodable_message_is_refused(client: GrpcClient) -> None:
    send = client.channel.unary_unary(f"/{JOB_SERVICE.full_name}/GetJob")
    told = await expect_error(send(b"\xff\xff\xff"))
    unknown = client.channel.unary_unary(f"/{JOB_SERVICE.full_name}/Get")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await unknown(b"")
    assert (told.status, told.code) == ("INVALID_ARGUMENT", "request_invalid")
    assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await client.jobs.ListJobs(wire.ListJobsRequest()) == wire.ListJobsResponse()
