"""Clients that disconnect, stall, do not read or open too many connections."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire

from service.gateway.context import GatewayContext
from service.gateway.rpc.transport import PingLimits
from service.jobs.record import result_key
from tests.integration.fakes import iterate_chunks, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    expect_error,
    make_frame_request,
    open_grpc_client,
    open_stream,
    read_responses,
    submit_job,
)
from tests.integration.rpc.http2_connection import ACK_FLAG, GOAWAY, PING, Http2Connection
from tests.integration.rpc.scripted_streams import ScriptedStreams
from tests.integration.servers import serving_grpc

RELEASE_TIMEOUT_SECONDS = 5.0
"""Ample time for what takes milliseconds."""


async def wait_until_released(streams: ScriptedStreams) -> None:
    async def none_open() -> bool | None:
        return streams.open_count == 0 or None

    await eventually(none_open, RELEASE_TIMEOUT_SECONDS)


async def count_ended_streams(gateway: GatewayContext, status: str) -> float:
    """Number of streams that ended with a status."""
    labels = {"method": "circumplex.v1.AnnotationService/StreamingAnnotate", "status": status}
    name = "circumplex_grpc_request_duration_seconds_count"
    return gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def test_a_stream_ends_when_the_client_half_closes(
    client: GrpcClient, gateway: GatewayContext, streams: ScriptedStreams
) -> None:
    call = await open_stream(client)
    for index in range(3):
        await call.write(make_frame_request(index))
        assert (await call.read()).frame_result.index == index
    await call.done_writing()
    assert [each.summary.frames async for each in read_responses(call)] == [3]
    assert await call.code() is grpc.StatusCode.OK
    assert streams.outcomes == {"ended": 1}
    assert await count_ended_streams(gateway, "OK") == 1


async def test_a_client_that_cancels_frees_its_stream(
    client: GrpcClient, gateway: GatewayContext, streams: ScriptedStreams
) -> None:
    call = await open_stream(client)
    await call.write(make_frame_request(0))
    await call.read()
    assert streams.open_count == 1
    call.cancel()
    await wait_until_released(streams)
    assert streams.outcomes == {"cancelled": 1}
    assert await count_ended_streams(gateway, "CANCELLED") == 1


async def test_a_deadline_frees_its_stream(
    client: GrpcClient, gateway: GatewayContext, streams: ScriptedStreams
) -> None:
    call = await open_stream(client, timeout=0.5)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call.read()
    await wait_until_released(streams)
    assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert streams.outcomes == {"cancelled": 1}
    assert await count_ended_streams(gateway, "DEADLINE_EXCEEDED") == 1


async def test_a_killed_client_is_not_a_half_close(target: str, streams: ScriptedStreams) -> None:
    with subprocess.Popen(  # noqa: ASYNC220 - starting it does not block
        [sys.executable, "-m", "tests.integration.rpc.idle_client", target], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"open\n"
        assert streams.open_count == 1
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await wait_until_released(streams)
    assert streams.outcomes == {"cancelled": 1}


async def test_no_results_are_computed_for_a_client_that_does_not_read(
    client: GrpcClient, streams: ScriptedStreams
) -> None:
    """At most what fits the connection's window, a few hundred results of a kilobyte."""
    call = await open_stream(client, "endless")
    response_count = -1
    while response_count != streams.response_count:
        response_count = streams.response_count
        await asyncio.sleep(0.5)
    assert response_count < 10_000
    for _ in range(response_count + 1000):
        assert (await call.read()).HasField("frame_result")
    call.cancel()
    await wait_until_released(streams)


async def test_an_unread_response_is_abandoned(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    short_stall = gateway.settings.model_copy(update={"response_stall_seconds": 0.5})
    async with (
        serving_grpc(dataclasses.replace(gateway, settings=short_stall), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        job_id = await submit_job(client)
        async with env.running_worker(make_fake_analysis(3)):
            record = await env.wait_for_end(job_id)
        assert record.published
        key = result_key(job_id, record.published, "json")
        await env.store.put(key, iterate_chunks(*[bytes(2**20)] * 64))
        call = client.jobs.GetResult(wire.GetResultRequest(job_id=job_id))
        await call.read()

        async def ended() -> bool | None:
            name = "circumplex_grpc_request_duration_seconds_count"
            labels = {
                "method": "circumplex.v1.JobService/GetResult",
                "status": "DEADLINE_EXCEEDED",
            }
            return bool(gateway.metrics.registry.get_sample_value(name, labels)) or None

        await eventually(ended)
        error = await expect_error(call)
    assert (error.status, error.code) == ("DEADLINE_EXCEEDED", "answer_stalled")


async def test_calls_above_the_limit_are_refused(gateway: GatewayContext) -> None:
    few = gateway.settings.model_copy(update={"max_calls": 2})
    async with (
        serving_grpc(dataclasses.replace(gateway, settings=few), 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        calls = [await open_stream(client) for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await client.jobs.ListJobs(wire.ListJobsRequest())
        calls[0].cancel()

        async def served() -> bool | None:
            try:
                return await client.jobs.ListJobs(wire.ListJobsRequest()) is not None
            except grpc.aio.AioRpcError:
                return None

        assert await eventually(served)
        calls[1].cancel()
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_connections_above_the_limit_are_closed(gateway: GatewayContext) -> None:
    few = gateway.settings.model_copy(update={"max_connections": 3})
    async with serving_grpc(dataclasses.replace(gateway, settings=few), 0) as port:
        connections = [await Http2Connection.connect(port) for _ in range(3)]
        assert all([await each.complete_handshake() for each in connections])
        extra = await Http2Connection.connect(port)
        assert not await extra.complete_handshake()
        for each in (*connections, extra):
            each.close()


@asynccontextmanager
async def open_pinging_connection(
    gateway: GatewayContext, seconds: float, **limits: float
) -> AsyncGenerator[Http2Connection]:
    pinging = gateway.settings.model_copy(update={"grpc_keepalive_seconds": seconds})
    replaced = dataclasses.replace(gateway, settings=pinging)
    async with serving_grpc(replaced, ping_limits=PingLimits(**limits)) as port:
        connection = await Http2Connection.connect(port)
        assert await connection.complete_handshake()
        yield connection
        connection.close()


async def test_an_idle_connection_is_pinged(gateway: GatewayContext) -> None:
    async with open_pinging_connection(gateway, 1.0) as connection:
        for _ in range(2):
            await connection.acknowledge_ping(await connection.wait_for_frame(PING, 10.0))


async def test_a_client_that_does_not_acknowledge_pings_is_disconnected(
    gateway: GatewayContext,
) -> None:
    async with open_pinging_connection(gateway, 1.0, timeout_seconds=1.0) as connection:
        await connection.wait_for_frame(PING, 10.0)
        assert await connection.wait_for_close(15.0)


async def test_clients_may_ping_at_the_allowed_rate_only(gateway: GatewayContext) -> None:
    """The minimum interval is 0.3 s here, instead of the default of 20 s."""
    assert PingLimits().min_interval_seconds < 30
    async with open_pinging_connection(gateway, 600.0, min_interval_seconds=0.3) as connection:
        for _ in range(5):
            await connection.ping()
            await connection.wait_for_frame(PING, 10.0, flags=ACK_FLAG)
            await asyncio.sleep(0.45)
        assert GOAWAY not in connection.received_kinds
        await connection.ping(20)
        assert b"too_many_pings" in await connection.wait_for_frame(GOAWAY, 10.0)
