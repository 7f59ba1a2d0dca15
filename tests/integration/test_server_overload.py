"""Full queue: further jobs are refused at once, before their body, and the others run."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import httpx

from service.jobs.record import JobState
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.servers import free_port

QUEUE_SIZE = 5
REFUSAL_SECONDS = 1.0
"""Twenty times what a refusal takes on an idle machine."""


async def _send_upload_head(address: str) -> tuple[int, dict[str, str], float]:
    """Send only the head of an upload; returns status, problem and seconds to the response."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    started = time.perf_counter()
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000\r\n\r\n"
    )
    async with asyncio.timeout(30.0):
        head = await reader.readuntil(b"\r\n\r\n")
        problem = json.loads(await reader.readuntil(b"}"))
    seconds = time.perf_counter() - started
    writer.close()
    assert b"retry-after" in head.lower()
    return int(head.split()[1]), problem, seconds


async def _fill_queue(client: httpx.AsyncClient) -> list[str]:
    responses = [await client.post("/v1/jobs", files={"clip": b"clip"}) for _ in range(QUEUE_SIZE)]
    assert {202} == {response.status_code for response in responses}
    return [response.json()["id"] for response in responses]


async def test_a_refusal_is_sent_promptly_and_before_the_body(env: JobEnvironment) -> None:
    port = free_port()
    limits = {"max_queued_jobs": QUEUE_SIZE, "client_share": 1.0, "http_port": port}
    settings = env.settings.model_copy(update=limits)
    address = f"http://127.0.0.1:{port}"
    with running_service(settings, "gateway"):
        async with httpx.AsyncClient(base_url=address, timeout=30.0) as client:
            await eventually(lambda: _is_up(client), 60.0)
            accepted = await _fill_queue(client)
            refusals = [await _send_upload_head(address) for _ in range(30)]
            together = await asyncio.gather(*(_send_upload_head(address) for _ in range(30)))
            while_sending = await _send_large_body(client)
            async with env.running_worker(make_fake_analysis(5)):
                records = [await env.wait_for_end(job_id) for job_id in accepted]
            again = await client.post("/v1/jobs", files={"clip": b"clip"})

    for status, problem, _ in (*refusals, *together):
        assert (status, problem["code"]) == (429, "queue_full")
    assert (while_sending.status_code, while_sending.json()["code"]) == (429, "queue_full")
    assert sorted(seconds for _, _, seconds in refusals)[15] < REFUSAL_SECONDS
    assert {JobState.SUCCEEDED} == {record.state for record in records}
    assert again.status_code == 202


async def _send_large_body(client: httpx.AsyncClient) -> httpx.Response:
    """Send 16 MiB, whether they are read or not."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(2**8):
            yield bytes(2**16)

    return await client.post("/v1/jobs", content=body(), headers={"Content-Type": "video/mp4"})


async def _is_up(client: httpx.AsyncClient) -> bool | None:
    try:
        return (await client.get("/health/live")).is_success or None
    except httpx.TransportError:
        return None
