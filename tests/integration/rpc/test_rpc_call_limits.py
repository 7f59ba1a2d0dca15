"""Limits of gRPC calls: messages on their way, calls, uploads and health of one client."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from circumplex.v1 import jobs_pb2 as wire
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.gateway.context import GatewayContext
from service.gateway.rpc.call_limits import MAX_HEALTH_CALLS_PER_CLIENT
from service.gateway.rpc.transport import UNREAD_BYTES_PER_CALL
from tests.integration.auth.key_requests import create_token
from tests.integration.job_environment import eventually, until
from tests.integration.rpc.grpc_client import (
    GrpcClient,
    expect_error,
    make_frame_request,
    make_submit_requests,
    open_grpc_client,
    open_stream,
    wait_for_health,
)
from tests.integration.rpc.half_messages import MESSAGE_BYTES, HalfMessage
from tests.integration.rpc.http2_connection import Http2Connection
from tests.integration.servers import serving_grpc

GET_JOB = "/circumplex.v1.JobService/GetJob"
SUBMIT_JOB = "/circumplex.v1.JobService/SubmitJob"
ANNOTATE = "/circumplex.v1.AnnotationService/StreamingAnnotate"
CHECK = "/grpc.health.v1.Health/Check"
REFLECT = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
ONE_MESSAGE = 3 * 8 * 2**20
"""Bytes on their way of one first message and two uploads."""


@asynccontextmanager
async def limited_server(gateway: GatewayContext, **update: object) -> AsyncGenerator[int]:
    settings = gateway.settings.model_copy(update=update)
    async with serving_grpc(dataclasses.replace(gateway, settings=settings), 0) as port:
        yield port


@asynccontextmanager
async def half_messages(
    port: int, path: str, count: int, **options: Any
) -> AsyncGenerator[list[HalfMessage]]:
    """Calls whose messages are on their way."""
    halves = [await HalfMessage.send(port, path, **options) for _ in range(count)]
    tasks = [asyncio.create_task(half.run()) for half in halves]
    try:
        yield halves
    finally:
        for half, task in zip(halves, tasks, strict=True):
            half.close()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("path", [GET_JOB, ANNOTATE, CHECK, REFLECT])
async def test_a_message_that_does_not_come_ends_its_call(
    gateway: GatewayContext, path: str
) -> None:
    async with (
        limited_server(gateway, call_message_timeout_seconds=0.5) as port,
        half_messages(port, path, 1) as halves,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        call = client.channel.stream_stream(path)()
        error = await expect_error(call)
        await until(lambda: halves[0].has_ended)
        assert await client.jobs.ListJobs(wire.ListJobsRequest())
    assert (error.status, error.code) == ("DEADLINE_EXCEEDED", "request_too_slow")
    assert error.retry_seconds is not None


@pytest.mark.parametrize("path", [GET_JOB, ANNOTATE, REFLECT])
async def test_messages_that_nobody_reads_yet_are_not_taken(
    gateway: GatewayContext, path: str
) -> None:
    """One message of the client is read at a time; of the others a window's bytes are taken."""
    async with (
        limited_server(gateway, max_pending_message_bytes_per_client=ONE_MESSAGE) as port,
        half_messages(port, path, 6) as halves,
    ):
        await until(lambda: any(half.sent_bytes == MESSAGE_BYTES - 1 for half in halves))
        sent = sorted(half.sent_bytes for half in halves)
        await until(lambda: any(half.has_ended for half in halves))
    assert sent[-1] == MESSAGE_BYTES - 1
    assert sent[-2] <= 2 * UNREAD_BYTES_PER_CALL


async def test_half_messages_of_one_client_hardly_delay_its_own_calls_and_no_others(
    gateway: GatewayContext,
) -> None:
    """A call of the same address waits for a second at most, one of another for nothing."""
    async with (
        limited_server(gateway, max_pending_message_bytes_per_client=ONE_MESSAGE) as port,
        half_messages(port, GET_JOB, 2, address="127.0.0.2") as halves,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        await until(lambda: any(half.sent_bytes > 2 * UNREAD_BYTES_PER_CALL for half in halves))
        assert await client.jobs.ListJobs(wire.ListJobsRequest())
        assert not all(half.has_ended for half in halves)
        async with half_messages(port, GET_JOB, 1) as own:
            await until(lambda: own[0].sent_bytes > 2 * UNREAD_BYTES_PER_CALL)
            assert await client.jobs.ListJobs(wire.ListJobsRequest(), timeout=8.0)


async def test_a_call_without_a_key_is_refused_before_its_message_comes(
    gateway: GatewayContext, key_store: ApiKeyStore
) -> None:
    settings = gateway.settings.model_copy(update={"access": "keys"})
    token = await create_token(key_store)
    async with Authenticator.open(settings) as authenticator:
        with_keys = dataclasses.replace(gateway, authenticator=authenticator)
        async with (
            limited_server(with_keys, access="keys") as port,
            open_grpc_client(f"127.0.0.1:{port}") as client,
            half_messages(port, GET_JOB, 4, token="wrong") as refused,
            half_messages(port, GET_JOB, 1, token=token.text) as taken,
        ):
            error = await expect_error(client.channel.stream_stream(SUBMIT_JOB)())
            await until(lambda: all(half.has_ended for half in refused))
            await until(lambda: taken[0].sent_bytes == MESSAGE_BYTES - 1)
    assert (error.status, error.code) == ("UNAUTHENTICATED", "unauthenticated")
    assert max(half.sent_bytes for half in refused) <= 2 * UNREAD_BYTES_PER_CALL


async def test_calls_of_one_key_are_limited_at_all_its_addresses(
    gateway: GatewayContext, key_store: ApiKeyStore
) -> None:
    settings = gateway.settings.model_copy(update={"access": "keys"})
    token, other = await create_token(key_store), await create_token(key_store)
    async with Authenticator.open(settings) as authenticator:
        with_keys = dataclasses.replace(gateway, authenticator=authenticator)
        async with (
            limited_server(with_keys, access="keys", max_calls_per_client=2) as port,
            open_grpc_client(f"127.0.0.1:{port}") as client,
            half_messages(port, GET_JOB, 2, token=token.text, address="127.0.0.2") as halves,
        ):
            await until(lambda: all(half.sent_bytes == MESSAGE_BYTES - 1 for half in halves))
            list_jobs = client.jobs.ListJobs
            request = wire.ListJobsRequest()
            error = await expect_error(list_jobs(request, metadata=(("x-api-key", token.text),)))
            assert await list_jobs(request, metadata=(("x-api-key", other.text),))
    assert (error.status, error.code) == ("RESOURCE_EXHAUSTED", "quota_exceeded")
    assert error.retry_seconds is not None


async def test_calls_of_one_address_are_limited(gateway: GatewayContext) -> None:
    async with (
        limited_server(gateway, max_calls_per_client=2) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        calls = [await open_stream(client) for _ in range(2)]
        error = await expect_error(client.jobs.ListJobs(wire.ListJobsRequest()))
        async with half_messages(port, GET_JOB, 1, address="127.0.0.2") as halves:
            await until(lambda: halves[0].sent_bytes > 2 * UNREAD_BYTES_PER_CALL)
        for call in calls:
            call.cancel()
    assert error.code == "quota_exceeded"


async def test_idle_connections_of_one_address_beyond_its_limit_are_ended(
    gateway: GatewayContext,
) -> None:
    """Connections with a call are spared, and so are those of other addresses."""
    async with (
        limited_server(gateway, max_connections_per_client=3) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        call = await open_stream(client)
        others = [await Http2Connection.connect(port, address="127.0.0.2") for _ in range(3)]
        own = [await Http2Connection.connect(port) for _ in range(5)]
        for each in (*others, *own):
            await each.complete_handshake()
        ends = [asyncio.create_task(each.wait_for_close(30.0)) for each in (*others, *own)]
        await until(lambda: sum(end.done() for end in ends) == 3)
        await call.write(make_frame_request(0))
        assert (await call.read()).HasField("frame_result")
        assert not any(end.done() for end in ends[:3])
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        for each in (*others, *own):
            each.close()
        call.cancel()


async def test_health_has_room_of_its_own(gateway: GatewayContext) -> None:
    async with (
        limited_server(gateway, max_calls=1) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
        half_messages(port, CHECK, 4, address="127.0.0.2"),
    ):
        call = await open_stream(client)
        assert (await expect_error(client.jobs.ListJobs(wire.ListJobsRequest()))).code == (
            "calls_exhausted"
        )
        watch = client.health.Watch(HealthCheckRequest())
        await wait_for_health(watch, HealthCheckResponse.SERVING)
        response = await client.health.Check(HealthCheckRequest())
        assert response.status == HealthCheckResponse.SERVING
        watch.cancel()
        call.cancel()


async def test_watches_of_health_are_limited_by_address(client: GrpcClient) -> None:
    watches: list[Any] = []
    for _ in range(MAX_HEALTH_CALLS_PER_CLIENT):
        watches.append(client.health.Watch(HealthCheckRequest()))
        await wait_for_health(watches[-1], HealthCheckResponse.SERVING)
    error = await expect_error(client.health.Watch(HealthCheckRequest()))
    watches.pop().cancel()

    async def served() -> bool | None:
        try:
            return await client.health.Check(HealthCheckRequest()) is not None
        except grpc.aio.AioRpcError:
            return None

    assert await eventually(served)
    for watch in watches:
        watch.cancel()
    assert error.code == "quota_exceeded"


async def test_watches_of_jobs_are_limited_by_client(gateway: GatewayContext) -> None:
    async with (
        limited_server(gateway, max_subscribers_per_client=1) as port,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        job_id = (await client.jobs.SubmitJob(make_submit_requests())).job.id
        watch = client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id))
        await watch.read()
        error = await expect_error(client.jobs.WatchJob(wire.WatchJobRequest(job_id=job_id)))
        watch.cancel()
    assert (error.status, error.code) == ("RESOURCE_EXHAUSTED", "quota_exceeded")


async def test_uploads_of_one_client_are_limited(gateway: GatewayContext) -> None:
    update = {
        "max_pending_message_bytes_per_client": ONE_MESSAGE,
        "call_message_timeout_seconds": 0.3,
        "upload_idle_seconds": 60.0,
    }
    async with (
        limited_server(gateway, **update) as port,
        half_messages(port, SUBMIT_JOB, 2) as halves,
        open_grpc_client(f"127.0.0.1:{port}") as client,
    ):
        await until(lambda: all(half.sent_bytes > 2 * UNREAD_BYTES_PER_CALL for half in halves))
        started = time.monotonic()
        error = await expect_error(client.jobs.SubmitJob(make_submit_requests(b"clip")))
        assert time.monotonic() - started >= 0.3
        halves[0].close()
        assert (await client.jobs.SubmitJob(make_submit_requests(b"clip"))).job.id
    assert (error.status, error.code) == ("RESOURCE_EXHAUSTED", "quota_exceeded")
