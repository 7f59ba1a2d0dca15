"""What a client is told when something is wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire

from service.errors import CircumplexError, RequestInvalid, StoreFull
from service.jobs.desk import Desk
from service.jobs.record import new_job_id
from service.office.gateway import Gateway
from service.rpc.door import open_door
from service.rpc.methods import ANNOTATION, JOBS, methods_of
from service.rpc.refusals import refusal_of
from service.settings import Settings
from service.telemetry.metrics import GRPC_METHODS
from tests.integration.rooms import Rooms
from tests.integration.rpc.talking import (
    Client,
    config,
    frame,
    opened,
    refusal,
    rest_of,
    submission,
    talking,
)
from tests.integration.servers import free_port

TRACE = "ab" * 16
UNKNOWN = wire.GetJobRequest(job_id=new_job_id())


def every_error(root: type[CircumplexError] = CircumplexError) -> Iterator[type[CircumplexError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__.startswith("service."):
            yield from every_error(child)


@pytest.mark.parametrize("error", sorted(set(every_error()), key=lambda each: each.code))
def test_every_error_has_a_status_of_grpc(error: type[CircumplexError]) -> None:
    told = refusal_of(error())
    assert told.code is getattr(grpc.StatusCode, error.grpc_status)
    assert told.code is not grpc.StatusCode.OK


def test_a_status_fits_into_a_header() -> None:
    told = refusal_of(RequestInvalid("é" * 100_000, field="config"))
    assert len(told.message.encode()) + sum(len(value) for _, value in told.metadata) < 8000


def test_metrics_know_every_method() -> None:
    names = [method.name for service in (ANNOTATION, JOBS) for method in methods_of(service)]
    assert sorted(names) == sorted(GRPC_METHODS)


async def test_the_trace_of_a_call_is_the_clients_or_a_new_one(client: Client) -> None:
    metadata = (("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),)
    call = client.jobs.ListJobs(wire.ListJobsRequest(), metadata=metadata)
    await call
    another = client.jobs.ListJobs(wire.ListJobsRequest())
    await another
    told = await refusal(client.jobs.GetJob(UNKNOWN, metadata=metadata))

    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    assert dict(await call.trailing_metadata())["x-trace-id"] == TRACE
    fresh = dict(await another.trailing_metadata())["x-trace-id"]
    assert len(fresh) == 32
    assert fresh != TRACE
    assert told.trace_id == TRACE


async def test_a_stream_tells_its_trace_with_its_first_response(client: Client) -> None:
    call = await opened(client, metadata=(("traceparent", f"00-{TRACE}-{'cd' * 8}-01"),))
    assert dict(await call.initial_metadata())["x-trace-id"] == TRACE
    call.cancel()


async def test_an_error_that_trying_again_may_cure_says_when(
    client: Client, gateway: Gateway, rooms: Rooms
) -> None:
    call = await opened(client, "streams_full")
    full = await refusal(call)
    early = dict(await call.initial_metadata())
    nowhere = rooms.settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}"})
    async with Desk.open(nowhere) as desk:
        lacking = dataclasses.replace(gateway, desk=desk)
        async with open_door(lacking, 0) as port, talking(f"127.0.0.1:{port}") as elsewhere:
            away = await refusal(elsewhere.jobs.GetJob(UNKNOWN))

    assert (full.status, full.code, full.retry_seconds) == ("RESOURCE_EXHAUSTED", "streams_full", 2)
    assert early
    assert (away.status, away.code, away.retry_seconds) == ("UNAVAILABLE", "queue_unavailable", 2)


async def test_a_clip_above_the_budget_is_refused(gateway: Gateway, rooms: Rooms) -> None:
    settings = rooms.settings.model_copy(update={"store_budget_bytes": 1000})
    async with (
        open_door(dataclasses.replace(gateway, settings=settings), 0) as port,
        talking(f"127.0.0.1:{port}") as client,
    ):
        told = await refusal(client.jobs.SubmitJob(submission()))
    assert (told.status, told.code) == (StoreFull.grpc_status, "store_full")
    assert rooms.stored("clips") == []


async def test_a_defect_is_logged_and_tells_nothing_of_the_house(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    call = await opened(client, "defect")
    with caplog.at_level(logging.ERROR):
        told = await refusal(call)

    assert (told.status, told.code) == ("INTERNAL", "internal_error")
    assert told.retry_seconds is None
    assert "secret" not in told.detail
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert "secret of the house" in str(getattr(record.exc_info[1], "__cause__", ""))


async def test_an_error_of_a_stream_ends_it_with_its_status(client: Client) -> None:
    first = await refusal(client.annotation.StreamingAnnotate(iter([frame(0)])))
    gone = await opened(client, "stream_gone")
    told = await refusal(gone)
    assert (first.status, first.code) == ("INVALID_ARGUMENT", "stream_out_of_order")
    assert (told.status, told.code) == ("NOT_FOUND", "stream_gone")


async def test_a_message_that_is_too_large_ends_its_call_alone(
    gateway: Gateway, settings: Settings
) -> None:
    bounded = settings.model_copy(update={"max_stream_message_bytes": 2**16})
    unbounded = {"max_send_message_length": -1}
    async with (
        open_door(dataclasses.replace(gateway, settings=bounded), 0) as port,
        talking(f"127.0.0.1:{port}", **unbounded) as client,
    ):
        well = await opened(client)
        call = await opened(client)
        await call.write(frame(0, size=2**16 + 1))
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call.read()
        zipped = client.annotation.StreamingAnnotate(compression=grpc.Compression.Gzip)
        await zipped.write(config())
        await zipped.read()
        await zipped.write(frame(0, size=2**20))
        with pytest.raises(grpc.aio.AioRpcError) as bomb:
            await zipped.read()
        await well.write(frame(0, size=2**15))
        assert (await well.read()).frame_result.index == 0
        await well.done_writing()
        assert [each.summary.frames async for each in rest_of(well)] == [1]

    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bomb.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_garbage_is_no_message(client: Client) -> None:
    send = client.channel.unary_unary(f"/{JOBS.full_name}/GetJob")
    told = await refusal(send(b"\xff\xff\xff"))
    unknown = client.channel.unary_unary(f"/{JOBS.full_name}/Get")
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await unknown(b"")
    assert (told.status, told.code) == ("INVALID_ARGUMENT", "request_invalid")
    assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await client.jobs.ListJobs(wire.ListJobsRequest()) == wire.ListJobsResponse()
