"""A store without room refuses new clips early, and goes on with the jobs that it has."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import httpx

from service.blobstore import open_store
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.record import JobState
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import serving

CLIP = bytes(10_000)
RAW_HEADERS = {"Content-Type": "video/mp4"}


@asynccontextmanager
async def limited_client(
    gateway: GatewayContext, **changes: object
) -> AsyncGenerator[httpx.AsyncClient]:
    settings = gateway.settings.model_copy(update=changes)
    other = dataclasses.replace(gateway, settings=settings, store=open_store(settings))
    async with (
        serving(create_app(other)) as address,
        httpx.AsyncClient(base_url=address, timeout=30) as client,
    ):
        yield client


async def post_clip(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post("/v1/jobs", content=CLIP, headers=RAW_HEADERS)


async def send_head_only(client: httpx.AsyncClient, length: int) -> dict[str, object]:
    """What is answered to a request whose body never comes."""
    url = client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: {url.host}\r\nContent-Type: video/mp4\r\n"
        f"Content-Length: {length}\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        (size,) = (
            int(line.split(b":")[1])
            for line in head.splitlines()
            if line.lower().startswith(b"content-length:")
        )
        body = json.loads(await reader.readexactly(size))
    writer.close()
    return {"status": status, "code": body["code"]}


async def test_a_clip_above_the_budget_is_refused_by_its_length_alone(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async with limited_client(gateway, store_budget_bytes=25_000) as client:
        first, second = await post_clip(client), await post_clip(client)
        assert (first.status_code, second.status_code) == (202, 202)

        refused = await send_head_only(client, length=10_000)
        assert refused == {"status": 507, "code": "store_full"}
        assert len(env.list_stored_files("clips")) == 2

        await env.queue.remove(first.json()["id"])
        assert (await post_clip(client)).status_code == 202


async def test_a_clip_that_outgrows_the_budget_on_its_way_leaves_nothing(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async def unmeasured() -> AsyncIterator[bytes]:
        for _ in range(90):
            yield bytes(10_000)

    async with limited_client(gateway, store_budget_bytes=400_000) as client:
        refused = await client.post("/v1/jobs", content=unmeasured(), headers=RAW_HEADERS)

    assert (refused.status_code, refused.json()["code"]) == (507, "store_full")
    assert env.list_stored_files("clips") == []
    assert (await env.queue.measure_backlog()).depth == 0


async def test_accepted_jobs_finish_while_new_ones_are_refused(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    job_id = await env.submit()
    reserve_bytes = 2 * shutil.disk_usage(env.settings.store_dir).free
    async with limited_client(gateway, store_reserve_bytes=reserve_bytes) as client:
        assert await send_head_only(client, length=1) == {"status": 507, "code": "store_full"}
        async with env.running_worker(make_fake_analysis(5)):
            record = await env.wait_for_end(job_id)
        result = await client.get(f"/v1/jobs/{job_id}/result")

    assert record.state is JobState.SUCCEEDED
    assert len(result.json()["frames"]["index"]) == 5
