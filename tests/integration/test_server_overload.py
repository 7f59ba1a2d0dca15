"""As many jobs wait as are taken: the next is refused at once, and the others are done."""

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
"""Twenty times what it may take on an idle machine."""


async def _announce_clip(address: str) -> tuple[int, dict[str, str], float]:
    """Announce a clip and send not one byte of it: status, problem, seconds to the answer."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    started = time.perf_counter()
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: here\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 1000000\r\n\r\n"
    )
    async with asyncio.timeout(30.0):
        head = await reader.readuntil(b"\r\n\r\n")
        problem = json.loads(await reader.readuntil(b"}"))
    seconds = time.perf_counter() - started
    writer.close()
    assert b"retry-after" in head.lower()
    return int(head.split()[1]), problem, seconds


async def _fill_queue(client: httpx.AsyncClient) -> list[str]:
    answers = [await client.post("/v1/jobs", files={"clip": b"clip"}) for _ in range(QUEUE_SIZE)]
    assert {202} == {answer.status_code for answer in answers}
    return [answer.json()["id"] for answer in answers]


async def test_a_refusal_comes_before_the_body_and_soon(env: JobEnvironment) -> None:
    port = free_port()
    settings = env.settings.model_copy(update={"max_queued_jobs": QUEUE_SIZE, "http_port": port})
    address = f"http://127.0.0.1:{port}"
    with running_service(settings, "gateway"):
        async with httpx.AsyncClient(base_url=address, timeout=30.0) as client:
            await eventually(lambda: _is_up(client), 60.0)
            accepted = await _fill_queue(client)
            refusals = [await _announce_clip(address) for _ in range(30)]
            together = await asyncio.gather(*(_announce_clip(address) for _ in range(30)))
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
    """Send 16 MiB, however that is received."""

    async def body() -> AsyncIterator[bytes]:
        for _ in range(2**8):
            yield bytes(2**16)

    return await client.post("/v1/jobs", content=body(), headers={"Content-Type": "video/mp4"})


async def _is_up(client: httpx.AsyncClient) -> bool | None:
    try:
        return (await client.get("/health/live")).is_success or None
    except httpx.TransportError:
        return None
