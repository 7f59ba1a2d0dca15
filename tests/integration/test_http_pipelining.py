"""Requests that a client sends before it has read the responses to earlier ones."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import psutil
import pytest

from service.gateway.context import GatewayContext
from service.gateway.http_server.connection import MAX_READ_AHEAD_BYTES
from tests.integration.job_environment import JobEnvironment
from tests.integration.processes import running_service
from tests.integration.servers import free_port
from tests.integration.test_http_server_limits import (
    TIMEOUT_SECONDS,
    RawHttpClient,
    open_raw_client,
    wait_until,
    wait_until_live,
)

HOST = b" HTTP/1.1\r\nHost: localhost\r\n"
LIVE = b"GET /health/live" + HOST + b"\r\n"
UNKNOWN = b"GET /nowhere" + HOST + b"\r\n"
UPLOAD = b"POST /v1/jobs" + HOST + b"Content-Type: video/mp4\r\n"
SIZED = UPLOAD + b"Content-Length: 8\r\n\r\n\r\n\r\nclip"
CHUNKED = UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n8\r\n\r\n\r\nclip\r\n0\r\nX: y\r\n\r\n"
UPGRADE = b"GET /health/live" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
SEQUENCE = [LIVE, SIZED, UNKNOWN, CHUNKED, UPGRADE, SIZED, LIVE]
STATUSES = [200, 202, 404, 202, 200, 202, 200]
HANDSHAKE = (
    b"GET /v1/live" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
)


def count_requests(gateway: GatewayContext, route: str) -> int:
    name = "circumplex_http_request_duration_seconds_count"
    labels = {"method": "GET", "route": route, "status": "200"}
    return int(gateway.metrics.registry.get_sample_value(name, labels) or 0)


@pytest.mark.parametrize("size", [1, 37, 100_000])
async def test_pipelined_requests_are_answered_in_order(
    address: str, env: JobEnvironment, size: int
) -> None:
    sent = b"".join(SEQUENCE * 3)
    async with open_raw_client(address) as client:
        for start in range(0, len(sent), size):
            client.writer.write(sent[start : start + size])
            await asyncio.sleep(0)
        answers = [await client.read_response() for _ in range(3 * len(SEQUENCE))]

    assert [status for status, _, _ in answers] == STATUSES * 3
    assert {json.loads(body)["clip"]["bytes"] for status, _, body in answers if status == 202} == {
        8
    }
    assert len(env.list_stored_files("clips")) == STATUSES.count(202) * 3


async def test_the_next_request_begins_when_the_response_before_it_is_complete(
    gateway: GatewayContext, address: str, env: JobEnvironment
) -> None:
    job_id = await env.submit()
    wait = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=30\r\n\r\n".encode()
    async with open_raw_client(address, wait + LIVE * 3) as client:
        await wait_until(lambda: gateway.subscriber_limiter.count == 1)
        async with open_raw_client(address, UNKNOWN) as other:  # after a round trip, at least
            assert (await other.read_response())[0] == 404
        assert count_requests(gateway, "/health/live") == 0
        await env.queue.cancel(job_id)
        assert [(await client.read_response())[0] for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("length", [1, 2 * MAX_READ_AHEAD_BYTES], ids=["read", "paused"])
async def test_a_client_that_leaves_is_noticed_behind_pipelined_requests(
    gateway: GatewayContext, address: str, env: JobEnvironment, length: int
) -> None:
    job_id = await env.submit()
    wait = f"GET /v1/jobs/{job_id} HTTP/1.1\r\nHost: localhost\r\nPrefer: wait=60\r\n\r\n".encode()
    more = LIVE * (length // len(LIVE) + 1)
    async with open_raw_client(address, wait + more) as client:
        await client.writer.drain()
        await wait_until(lambda: gateway.subscriber_limiter.count == 1)
    await wait_until(lambda: gateway.subscriber_limiter.count == 0)
    assert count_requests(gateway, "/health/live") == 0


async def test_responses_that_are_read_late_are_complete_and_in_order(address: str) -> None:
    document = b"GET /openapi.json" + HOST + b"\r\n"
    sent = (document + UNKNOWN) * 200  # some 100 kB each: more than the buffers of sockets hold
    async with open_raw_client(address, sent) as client:
        transport = cast(asyncio.ReadTransport, client.writer.transport)
        transport.pause_reading()
        async with open_raw_client(address, LIVE * 20) as other:
            assert [(await other.read_response())[0] for _ in range(20)] == [200] * 20
        transport.resume_reading()
        statuses = [(await client.read_response())[0] for _ in range(400)]
    assert statuses == [200, 404] * 200


async def test_a_websocket_may_follow_a_request(address: str) -> None:
    async with open_raw_client(address, LIVE + HANDSHAKE) as client:
        assert (await client.read_response())[0] == 200
        assert (await client.read_response())[0] == 101


async def test_frames_behind_a_handshake_are_not_lost(address: str) -> None:
    early = b"\x81\x82\0\0\0\0{}"  # a text that is refused
    async with open_raw_client(address, HANDSHAKE + early) as client:
        assert (await client.read_response())[0] == 101
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert b"stream_out_of_order" in await client.reader.readuntil(b"}}")


async def test_pipelined_requests_of_many_clients_cost_little_memory(env: JobEnvironment) -> None:
    port = free_port()
    settings = env.settings.model_copy(update={"http_port": port})
    address = f"http://127.0.0.1:{port}"
    flood = LIVE * (2**19 // len(LIVE))

    async def answer_one(client: RawHttpClient) -> int:
        return (await client.read_response())[0]

    with running_service(settings, "gateway") as process:
        await wait_until_live(address)
        before = psutil.Process(process.pid).memory_info().rss
        opened = [open_raw_client(address, flood) for _ in range(50)]
        clients = [await each.__aenter__() for each in opened]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            assert {*await asyncio.gather(*map(answer_one, clients))} == {200}
            async with open_raw_client(address, LIVE) as other:
                assert await answer_one(other) == 200
        grown = psutil.Process(process.pid).memory_info().rss - before
        for each in opened:
            await each.__aexit__(None, None, None)

    assert grown < 32 * 2**20
