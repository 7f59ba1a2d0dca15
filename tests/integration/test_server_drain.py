"""Shutdown of the gateway while REST requests are under way."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from service.settings import Settings
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port

TIMEOUT_SECONDS = 30.0
"""Ample time for what takes a second or two on an idle machine."""


@dataclass(frozen=True, kw_only=True)
class RunningGateway:
    process: subprocess.Popen[bytes]
    address: str

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def wait_for_exit(self, seconds: float = TIMEOUT_SECONDS) -> int:
        return await asyncio.to_thread(self.process.wait, seconds)

    async def wait_until_unready(self) -> httpx.Response:
        """Wait until readiness fails; returns its response."""

        async def unready() -> httpx.Response | None:
            async with self.open_client() as probe:
                response = await probe.get("/health/ready")
            return None if response.is_success else response

        return await eventually(unready, TIMEOUT_SECONDS)

    def open_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.address, timeout=TIMEOUT_SECONDS)


@asynccontextmanager
async def running_gateway(settings: Settings, **update: object) -> AsyncGenerator[RunningGateway]:
    """Gateway in its own process, once it is ready."""
    port = free_port()
    settings = settings.model_copy(update={"http_port": port, **update})
    with running_service(settings, "gateway") as process:
        running = RunningGateway(process=process, address=f"http://127.0.0.1:{port}")

        async def ready() -> bool | None:
            try:
                async with running.open_client() as client:
                    return (await client.get("/health/ready")).is_success or None
            except httpx.TransportError:
                return None

        await eventually(ready, 60.0)
        yield running


async def test_a_draining_gateway_is_unready_at_once_but_serves_for_the_delay(
    env: JobEnvironment,
) -> None:
    async with (
        running_gateway(env.settings, drain_delay_seconds=3.0) as gateway,
        gateway.open_client() as client,
    ):
        assert "connection" not in (await client.get("/health/live")).headers
        gateway.stop()
        refused = await gateway.wait_until_unready()
        accepted = await client.post("/v1/jobs", files={"clip": b"clip"})
        live = await client.get("/health/live")
        assert await gateway.wait_for_exit() == 0

    assert (refused.status_code, refused.json()["code"]) == (503, "gateway_draining")
    assert "retry-after" in refused.headers
    assert (accepted.status_code, live.status_code) == (202, 200)
    assert accepted.headers["connection"] == live.headers["connection"] == "close"
    assert (await env.queue.measure_backlog()).depth == 1


async def test_an_upload_in_progress_becomes_a_job(env: JobEnvironment) -> None:
    async with (
        running_gateway(env.settings, drain_seconds=TIMEOUT_SECONDS) as gateway,
        gateway.open_client() as client,
    ):

        async def slowly() -> AsyncIterator[bytes]:
            yield bytes(500_000)
            await _wait_for_upload(env)
            gateway.stop()
            for _ in range(10):
                await asyncio.sleep(0.1)
                yield b"more"

        headers = {"Content-Type": "video/mp4"}
        response = await client.post("/v1/jobs", content=slowly(), headers=headers)
        assert await gateway.wait_for_exit() == 0

    assert response.status_code == 202
    assert (await env.queue.measure_backlog()).depth == 1


async def test_an_upload_that_does_not_end_is_refused_and_leaves_nothing(
    env: JobEnvironment,
) -> None:
    async with running_gateway(env.settings, drain_seconds=1.0) as gateway:
        host, port = gateway.address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: video/mp4\r\n"
            b"Content-Length: 600000\r\n\r\n" + bytes(500_000)
        )
        await _wait_for_upload(env)
        gateway.stop()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            problem = json.loads(await reader.readuntil(b"}"))
        writer.close()
        assert await gateway.wait_for_exit() == 0

    assert head.startswith(b"HTTP/1.1 503")
    assert (problem["code"], problem["retryable"]) == ("gateway_draining", True)
    assert _is_empty(env)


async def test_long_polling_does_not_delay_shutdown(env: JobEnvironment) -> None:
    job_id = await env.submit()
    paths = (f"/v1/jobs/{job_id}/events", f"/v1/jobs/{job_id}")
    async with (
        running_gateway(env.settings, drain_seconds=TIMEOUT_SECONDS) as gateway,
        gateway.open_client() as client,
    ):
        headers = {"Prefer": "wait=25"}
        waiting = [asyncio.create_task(client.get(path, headers=headers)) for path in paths]
        await asyncio.sleep(1.0)
        assert not any(each.done() for each in waiting)
        started = time.monotonic()
        gateway.stop()
        assert [(await each).status_code for each in waiting] == [200, 200]
        assert await gateway.wait_for_exit() == 0
        assert time.monotonic() - started < TIMEOUT_SECONDS / 2


async def test_a_second_signal_ends_the_wait(env: JobEnvironment) -> None:
    async with running_gateway(env.settings, drain_delay_seconds=300.0) as gateway:
        gateway.stop()
        await gateway.wait_until_unready()
        assert gateway.process.poll() is None
        gateway.stop()
        assert await gateway.wait_for_exit() == 0


async def _wait_for_upload(env: JobEnvironment) -> None:
    async def stored() -> bool | None:
        return not _is_empty(env) or None

    await eventually(stored, TIMEOUT_SECONDS)


def _is_empty(env: JobEnvironment) -> bool:
    """Return True if not even a part of a clip is stored."""
    return not env.list_stored_files("clips")
