"""Capacity of the blob store: new clips are refused early, accepted jobs go on."""

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
from tests.integration.auth.key_requests import send_head_only
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_client import post_clip
from tests.integration.job_environment import JobEnvironment, until
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


async def send_declared_length(client: httpx.AsyncClient, length: int) -> tuple[int, str]:
    """The HTTP status and error code of a request whose body is never sent."""
    url = str(client.base_url)
    response = await send_head_only(url, "POST", "/v1/jobs", length=length)
    return response.status, json.loads(response.body)["code"]


async def test_clip_above_the_budget_is_refused_by_its_content_length(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async with limited_client(gateway, store_budget_bytes=25_000, client_share=1.0) as client:
        first, second = await post_clip(client, CLIP), await post_clip(client, CLIP)
        assert (first.status_code, second.status_code) == (202, 202)

        assert await send_declared_length(client, 10_000) == (507, "store_full")
        assert len(env.list_stored_files("clips")) == 2

        await env.queue.remove(first.json()["id"])
        assert (await post_clip(client, CLIP)).status_code == 202


async def test_upload_that_exceeds_the_budget_leaves_nothing(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async def unmeasured() -> AsyncIterator[bytes]:
        for _ in range(90):
            yield bytes(10_000)

    async with limited_client(gateway, store_budget_bytes=400_000, client_share=1.0) as client:
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
        assert await send_declared_length(client, 1) == (507, "store_full")
        async with env.running_worker(make_fake_analysis(5)):
            record = await env.wait_for_end(job_id)
        result = await client.get(f"/v1/jobs/{job_id}/result")

    assert record.state is JobState.SUCCEEDED
    assert len(result.json()["frames"]["index"]) == 5


async def test_a_client_may_use_its_share_of_the_store_only(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async with limited_client(gateway, store_budget_bytes=50_000) as client:
        first, second = await post_clip(client, CLIP), await post_clip(client, CLIP)
        assert (first.status_code, second.status_code) == (202, 202)

        refused = await post_clip(client, CLIP)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert "may store 25000 bytes" in refused.json()["detail"]
        assert "delete jobs" in refused.json()["detail"]
        assert await send_declared_length(client, 10_000) == (429, "quota_exceeded")
        assert len(env.list_stored_files("clips")) == 2

        await client.delete(f"/v1/jobs/{first.json()['id']}")
        assert (await post_clip(client, CLIP)).status_code == 202


async def test_uploads_under_way_count_together(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    """A client cannot fill the disk with uploads that it does not end."""
    is_begun, may_end = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(200_000)
        is_begun.set()
        await may_end.wait()
        yield b"end"

    async def quick() -> AsyncIterator[bytes]:
        yield bytes(200_000)

    async with limited_client(gateway, store_budget_bytes=600_000) as client:
        begun = asyncio.create_task(client.post("/v1/jobs", content=slow(), headers=RAW_HEADERS))
        await is_begun.wait()
        await until(lambda: gateway.pending_uploads.pending_bytes > 0)
        refused = await client.post("/v1/jobs", content=quick(), headers=RAW_HEADERS)
        may_end.set()
        accepted = await begun

    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert accepted.status_code == 202
    assert gateway.pending_uploads.pending_bytes == 0
    assert len(env.list_stored_files("clips")) == 1
