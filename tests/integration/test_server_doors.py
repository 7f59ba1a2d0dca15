"""What a client may take of the gateway: time, bytes, connections. On raw sockets."""

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

from service.api.app import create_app
from service.jobs.record import JobState
from service.office.gateway import Gateway
from tests.integration.pretence import analysis_of, chunks_of
from tests.integration.processes import process_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import free_port, serving

END_SECONDS = 20.0
"""What ends in a second or two is given so long on a busy machine."""
HEAD = b"GET /health/live HTTP/1.1\r\nHost: here\r\n"


@dataclass(frozen=True)
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer on this connection: status, headers, body."""
        async with asyncio.timeout(END_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status.split()[1]), headers, body

    async def problem(self) -> tuple[int, str]:
        status, headers, body = await self.answer()
        assert headers["content-type"] == "application/problem+json"
        assert headers["connection"] == "close"
        problem = json.loads(body)
        assert problem["trace_id"] == headers["x-trace-id"]
        assert problem["status"] == status
        return status, problem["code"]

    async def ended(self) -> bytes:
        """What comes until the server closes."""
        try:
            async with asyncio.timeout(END_SECONDS):
                return await self.reader.read()
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def client_of(address: str, first: bytes = b"") -> AsyncGenerator[Client]:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(first)
        yield Client(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def serving_with(gateway: Gateway, **settings: object) -> AsyncGenerator[str]:
    changed = gateway.settings.model_copy(update=settings)
    async with serving(create_app(dataclasses.replace(gateway, settings=changed))) as address:
        yield address


def ended_count(gateway: Gateway, reason: str) -> float:
    labels = {"reason": reason}
    name = "circumplex_http_connections_ended_total"
    return gateway.metrics.registry.get_sample_value(name, labels) or 0.0


async def until(condition: Callable[[], bool]) -> None:
    async def look() -> bool | None:
        return condition() or None

    await eventually(look, END_SECONDS)


async def test_a_head_that_does_not_end_is_ended(gateway: Gateway) -> None:
    async with (
        serving_with(gateway, request_head_timeout_seconds=0.5) as address,
        client_of(address, HEAD) as never_ending,
        client_of(address) as silent,
        client_of(address, HEAD + b"\r\n" + HEAD) as again,
    ):
        assert await never_ending.problem() == (408, "request_too_slow")
        assert await never_ending.ended() == b""
        assert await silent.ended() == b""
        assert (await again.answer())[0] == 200
        assert await again.problem() == (408, "request_too_slow")


async def test_a_head_that_comes_byte_by_byte_is_ended_all_the_same(gateway: Gateway) -> None:
    async def drip(client: Client) -> None:
        while not client.writer.is_closing():
            client.writer.write(b"X")
            await asyncio.sleep(0.05)

    async with (
        serving_with(gateway, request_head_timeout_seconds=0.5) as address,
        client_of(address, HEAD) as client,
    ):
        dripping = asyncio.create_task(drip(client))
        assert await client.problem() == (408, "request_too_slow")
        dripping.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"X-Long: " + bytes(b"x" * 2**17) + b"\r\n\r\n",
        HEAD + b"X-Endless: " + bytes(b"x" * 2**17),
        b"GET /" + bytes(b"x" * 2**17) + b" HTTP/1.1\r\n\r\n",
        HEAD + b"X-Many: of them\r\n" * 101 + b"\r\n",
        b"\r\n" * 2**16,
    ],
    ids=["long", "endless", "path", "many", "blank"],
)
async def test_a_head_that_is_too_large_is_refused(gateway: Gateway, sent: bytes) -> None:
    async with serving_with(gateway) as address, client_of(address, sent) as client:
        assert await client.problem() == (431, "head_too_large")


async def test_trailers_are_bounded_and_are_no_headers(gateway: Gateway, rooms: Rooms) -> None:
    post = b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: video/mp4\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n4\r\nclip\r\n0\r\n"
    async with serving_with(gateway) as address:
        async with client_of(address, post + body + b"X-Trace: 1\r\n\r\n") as client:
            assert (await client.answer())[0] == 202
        async with client_of(address, post + body + b"X: " + b"x" * 2**20) as client:
            await client.ended()
    assert ended_count(gateway, "head_too_large") == 1
    assert len(rooms.stored("clips")) == 1


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"HELO here\r\n\r\n", b"GET\r\n\r\n"]
)
async def test_what_is_no_http_is_told_so(gateway: Gateway, sent: bytes) -> None:
    async with serving_with(gateway) as address, client_of(address, sent) as client:
        assert await client.problem() == (400, "request_malformed")


async def test_an_upload_that_only_drips_is_ended(gateway: Gateway, rooms: Rooms) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: video/mp4\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    bounds = {"upload_idle_seconds": 1.0, "upload_min_bytes_per_second": 1000.0}

    async def drip(client: Client) -> None:
        while True:
            client.writer.write(b"12345")
            await asyncio.sleep(0.1)

    async with serving_with(gateway, **bounds) as address, client_of(address, head) as client:
        dripping = asyncio.create_task(drip(client))
        assert await client.problem() == (408, "upload_interrupted")
        dripping.cancel()
    assert rooms.stored("clips") == []


async def _big_result(rooms: Rooms) -> tuple[str, int]:
    """A job with a result that no socket's buffers can hold."""
    job_id = await rooms.submit()
    async with rooms.worker(analysis_of(5)):
        record = await rooms.finished(job_id)
    part = b"x" * 2**20
    size = await rooms.store.put(record.result_key("csv"), chunks_of(*[part] * 16))
    return f"/v1/jobs/{job_id}/result?format=csv", size


async def test_a_client_that_takes_nothing_of_its_answer_is_cut_off_and_a_slow_one_is_not(
    gateway: Gateway, rooms: Rooms
) -> None:
    path, size = await _big_result(rooms)
    request = f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode()
    async with serving_with(gateway, response_stall_seconds=1.5) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**14)
            deaf.connect((host, int(port)))
            deaf.sendall(request)
            async with client_of(address, request) as slow:
                received = 0
                while part := await slow.reader.read(2**20):
                    received += len(part)
                    await asyncio.sleep(0.02)
            await until(lambda: ended_count(gateway, "answer_stalled") == 1)
    assert received > size


async def test_who_holds_connections_for_nothing_gives_way_to_who_works(gateway: Gateway) -> None:
    async with serving_with(gateway, max_connections=10) as address:
        idle = [client_of(address, HEAD) for _ in range(30)]
        clients = [await each.__aenter__() for each in idle]
        async with httpx.AsyncClient(base_url=address, timeout=END_SECONDS) as client:
            for _ in range(3):
                assert (await client.post("/v1/jobs", files={"clip": b"x"})).status_code == 202
        assert await clients[0].ended() == b""
        await until(lambda: ended_count(gateway, "evicted") >= 20)
        for each in idle:
            await each.__aexit__(None, None, None)


async def test_where_all_are_at_work_a_newcomer_is_refused_at_once(
    gateway: Gateway, rooms: Rooms
) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: video/mp4\r\n"
        b"Content-Length: 500004\r\n\r\n" + bytes(500_000)
    )
    async with serving_with(gateway, max_connections_per_client=2) as address:
        async with client_of(address, head) as one, client_of(address, head) as two:
            await until(lambda: len(rooms.stored("clips")) == 2)
            async with client_of(address) as newcomer:
                assert await newcomer.problem() == (503, "connections_exhausted")
            for each in (one, two):
                each.writer.write(b"more")
                assert (await each.answer())[0] == 202
        async with httpx.AsyncClient(base_url=address, timeout=END_SECONDS) as client:
            assert (await client.get("/health/live")).status_code == 200


async def test_500_connections_that_never_ask_keep_nobody_from_a_job(rooms: Rooms) -> None:
    port = free_port()
    update = {"http_port": port, "request_head_timeout_seconds": 3.0}
    settings = rooms.settings.model_copy(update=update)
    address = f"http://127.0.0.1:{port}"
    with process_of(settings, "gateway") as process:
        await _is_up(address)
        before = psutil.Process(process.pid).memory_info().rss
        idle = [client_of(address, HEAD + b"X: " + b"x" * 2**14) for _ in range(500)]
        clients = [await each.__aenter__() for each in idle]
        async with (
            rooms.worker(analysis_of(5)),
            httpx.AsyncClient(base_url=address, timeout=END_SECONDS) as client,
        ):
            job_id = (await client.post("/v1/jobs", files={"clip": b"x"})).json()["id"]
            assert (await rooms.finished(job_id)).state is JobState.SUCCEEDED
            assert (await client.get(f"/v1/jobs/{job_id}/result")).status_code == 200
            grown = psutil.Process(process.pid).memory_info().rss - before
        ends = await asyncio.gather(*(each.ended() for each in clients))
        for each in idle:
            await each.__aexit__(None, None, None)

    told = [end for end in ends if end.startswith(b"HTTP/1.1 408")]
    assert len(told) > 400  # the others gave way to those who asked
    assert grown < 100 * 2**20


async def _is_up(address: str) -> None:
    async def look() -> bool | None:
        try:
            async with httpx.AsyncClient(base_url=address) as client:
                return (await client.get("/health/live")).is_success or None
        except httpx.TransportError:
            return None

    await eventually(look, 60.0)
