"""Limits of the HTTP server on time, bytes and connections, tested over raw sockets."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import psutil
import pytest

from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.record import JobState
from tests.integration.fakes import iterate_chunks, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port, serving

TIMEOUT_SECONDS = 20.0
"""Ample time for what takes a second or two on an idle machine."""
REQUEST_HEAD = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


@dataclass(frozen=True)
class RawHttpClient:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read_response(self) -> tuple[int, dict[str, str], bytes]:
        """Read the next response: status, headers, body."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def read_problem(self) -> tuple[int, str]:
        status, headers, body = await self.read_response()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        problem = json.loads(body)
        assert problem["trace_id"] == headers["x-trace-id"]
        assert problem["status"] == status
        return status, problem["code"]

    async def read_until_closed(self) -> bytes:
        """Read until the server closes the connection."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def open_raw_client(
    address: str, initial_bytes: bytes = b""
) -> AsyncGenerator[RawHttpClient]:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(initial_bytes)
        yield RawHttpClient(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def serving_with_settings(gateway: GatewayContext, **settings: object) -> AsyncGenerator[str]:
    changed = gateway.settings.model_copy(update=settings)
    async with serving(create_app(dataclasses.replace(gateway, settings=changed))) as address:
        yield address


def count_ended_connections(gateway: GatewayContext, reason: str) -> float:
    labels = {"reason": reason}
    name = "circumplex_http_connections_ended_total"
    return gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def wait_until(condition: Callable[[], bool]) -> None:
    async def poll() -> bool | None:
        return condition() or None

    await eventually(poll, TIMEOUT_SECONDS)


async def test_an_unfinished_head_times_out(gateway: GatewayContext) -> None:
    async with (
        serving_with_settings(gateway, request_head_timeout_seconds=0.5) as address,
        open_raw_client(address, REQUEST_HEAD) as never_ending,
        open_raw_client(address) as silent,
        open_raw_client(address, REQUEST_HEAD + b"\r\n" + REQUEST_HEAD) as again,
    ):
        assert await never_ending.read_problem() == (408, "request_too_slow")
        assert await never_ending.read_until_closed() == b""
        assert await silent.read_until_closed() == b""
        assert (await again.read_response())[0] == 200
        assert await again.read_problem() == (408, "request_too_slow")


async def test_a_slowly_sent_head_times_out(gateway: GatewayContext) -> None:
    async def send_slowly(client: RawHttpClient) -> None:
        while not client.writer.is_closing():
            client.writer.write(b"X")
            await asyncio.sleep(0.05)

    async with (
        serving_with_settings(gateway, request_head_timeout_seconds=0.5) as address,
        open_raw_client(address, REQUEST_HEAD) as client,
    ):
        sending = asyncio.create_task(send_slowly(client))
        assert await client.read_problem() == (408, "request_too_slow")
        sending.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        REQUEST_HEAD + b"X-Long: " + bytes(b"x" * 2**17) + b"\r\n\r\n",
        REQUEST_HEAD + b"X-Endless: " + bytes(b"x" * 2**17),
        b"GET /" + bytes(b"x" * 2**17) + b" HTTP/1.1\r\n\r\n",
        REQUEST_HEAD + b"X-Many: of them\r\n" * 101 + b"\r\n",
        b"\r\n" * 2**16,
    ],
    ids=["long", "endless", "path", "many", "blank"],
)
async def test_a_head_that_is_too_large_is_refused(gateway: GatewayContext, sent: bytes) -> None:
    async with serving_with_settings(gateway) as address, open_raw_client(address, sent) as client:
        assert await client.read_problem() == (431, "head_too_large")


async def test_trailers_are_bounded_and_are_no_headers(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    post = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n4\r\nclip\r\n0\r\n"
    async with serving_with_settings(gateway) as address:
        async with open_raw_client(address, post + body + b"X-Trace: 1\r\n\r\n") as client:
            assert (await client.read_response())[0] == 202
        async with open_raw_client(address, post + body + b"X: " + b"x" * 2**20) as client:
            await client.read_until_closed()
    assert count_ended_connections(gateway, "head_too_large") == 1
    assert len(env.list_stored_files("clips")) == 1


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELO here\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_a_request_that_is_not_http_is_refused(gateway: GatewayContext, sent: bytes) -> None:
    async with serving_with_settings(gateway) as address, open_raw_client(address, sent) as client:
        assert await client.read_problem() == (400, "request_malformed")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost:\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost, evil.example\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: user@localhost\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost/\r\n", 400),
        (b"GET /health/live HTTP/1.1\r\nHost: localhost:port\r\n", 400),
        (b"GET http://evil.example/health/live HTTP/1.1\r\nHost: localhost\r\n", 400),
        (b"GET http://LOCALHOST/health/live HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"GET /health/live HTTP/1.1\r\nHost: [::1]:8080\r\n", 200),
        (b"GET /health/live HTTP/1.0\r\n", 200),
        (b"GET /health/live HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n", 400),
        (b"GET /v1/live HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", 400),
    ],
)
async def test_a_request_has_one_host(gateway: GatewayContext, head: bytes, status: int) -> None:
    async with (
        serving_with_settings(gateway) as address,
        open_raw_client(address, head + b"\r\n") as client,
    ):
        if status == 200:
            assert (await client.read_response())[0] == 200
        else:
            assert await client.read_problem() == (400, "request_malformed")


async def test_an_upload_that_is_too_slow_is_ended(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    bounds = {"upload_idle_seconds": 1.0, "upload_min_bytes_per_second": 1000.0}

    async def send_slowly(client: RawHttpClient) -> None:
        while True:
            client.writer.write(b"12345")
            await asyncio.sleep(0.1)

    async with (
        serving_with_settings(gateway, **bounds) as address,
        open_raw_client(address, head) as client,
    ):
        sending = asyncio.create_task(send_slowly(client))
        assert await client.read_problem() == (408, "upload_interrupted")
        sending.cancel()
    assert env.list_stored_files("clips") == []


async def _make_big_result(env: JobEnvironment) -> tuple[str, int]:
    """Make a job whose result exceeds the buffers of a socket; returns its URL and size."""
    job_id = await env.submit()
    async with env.running_worker(make_fake_analysis(5)):
        record = await env.wait_for_end(job_id)
    part = b"x" * 2**20
    size = await env.store.put(record.result_key("csv"), iterate_chunks(*[part] * 16))
    return f"/v1/jobs/{job_id}/result?format=csv", size


async def test_a_client_that_does_not_read_is_disconnected_and_a_slow_one_is_not(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    path, size = await _make_big_result(env)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    async with serving_with_settings(gateway, response_stall_seconds=1.5) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.socket() as stalled:
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
            stalled.connect((host, int(port)))
            stalled.sendall(request)
            async with open_raw_client(address, request) as slow:
                received = 0
                while part := await slow.reader.read(2**20):
                    received += len(part)
                    await asyncio.sleep(0.02)
            await wait_until(lambda: count_ended_connections(gateway, "answer_stalled") == 1)
    assert received > size


async def test_idle_connections_are_closed_for_new_ones(gateway: GatewayContext) -> None:
    async with serving_with_settings(gateway, max_connections=10) as address:
        idle = [open_raw_client(address, REQUEST_HEAD) for _ in range(30)]
        clients = [await each.__aenter__() for each in idle]
        async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:
            for _ in range(3):
                assert (await client.post("/v1/jobs", files={"clip": b"x"})).status_code == 202
        assert await clients[0].read_until_closed() == b""
        await wait_until(lambda: count_ended_connections(gateway, "evicted") >= 20)
        for each in idle:
            await each.__aexit__(None, None, None)


async def test_a_new_connection_is_refused_when_all_are_busy(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
        b"Content-Length: 500004\r\n\r\n" + bytes(500_000)
    )
    async with serving_with_settings(gateway, max_connections_per_client=2) as address:
        async with open_raw_client(address, head) as one, open_raw_client(address, head) as two:
            await wait_until(lambda: len(env.list_stored_files("clips")) == 2)
            async with open_raw_client(address) as extra:
                assert await extra.read_problem() == (503, "connections_exhausted")
            for each in (one, two):
                each.writer.write(b"more")
                assert (await each.read_response())[0] == 202
        async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client:
            assert (await client.get("/health/live")).status_code == 200


async def test_500_silent_connections_do_not_block_a_job(env: JobEnvironment) -> None:
    port = free_port()
    update = {"http_port": port, "request_head_timeout_seconds": 3.0}
    settings = env.settings.model_copy(update=update)
    address = f"http://127.0.0.1:{port}"
    with running_service(settings, "gateway") as process:
        await wait_until_live(address)
        before = psutil.Process(process.pid).memory_info().rss
        idle = [open_raw_client(address, REQUEST_HEAD + b"X: " + b"x" * 2**14) for _ in range(500)]
        clients = [await each.__aenter__() for each in idle]
        async with (
            env.running_worker(make_fake_analysis(5)),
            httpx.AsyncClient(base_url=address, timeout=TIMEOUT_SECONDS) as client,
        ):
            job_id = (await client.post("/v1/jobs", files={"clip": b"x"})).json()["id"]
            assert (await env.wait_for_end(job_id)).state is JobState.SUCCEEDED
            assert (await client.get(f"/v1/jobs/{job_id}/result")).status_code == 200
            grown = psutil.Process(process.pid).memory_info().rss - before
        ends = await asyncio.gather(*(each.read_until_closed() for each in clients))
        for each in idle:
            await each.__aexit__(None, None, None)

    timed_out = [end for end in ends if end.startswith(b"HTTP/1.1 408")]
    assert len(timed_out) > 400  # the others were evicted for new connections
    assert grown < 100 * 2**20


async def wait_until_live(address: str) -> None:
    async def is_live() -> bool | None:
        try:
            async with httpx.AsyncClient(base_url=address) as client:
                return (await client.get("/health/live")).is_success or None
        except httpx.TransportError:
            return None

    await eventually(is_live, 60.0)
