"""Whose job comes first, and how long one is kept, as clients see it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.leases import LeaseManager
from service.jobs.queue.maintenance import QueueMaintenance
from tests.integration.auth.key_requests import bearer_headers, create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_client import AnalysisSpy, open_client, post_clip, submit_job
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.servers import serving

BACKLOG = 60


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def test_anothers_backlog_hardly_delays_a_key_with_few_jobs(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    settings = env.settings.model_copy(update={"access": "keys"})
    work = AnalysisSpy(3, 0.03)
    async with Authenticator.open(settings) as gate, ApiKeyStore.open(settings) as keys:
        busy, other = await create_token(keys), await create_token(keys)
        app = create_app(dataclasses.replace(gateway, authenticator=gate))
        async with serving(app) as address, open_client(address) as client:
            for _ in range(BACKLOG):
                assert (await post_clip(client, **bearer_headers(busy))).status_code == 202
            async with env.running_worker(work.analyse):
                await eventually(lambda: _have_started(work, 6), 60.0)
                before = len(work.clip_names)
                few = [
                    (await post_clip(client, **bearer_headers(other))).json()["id"]
                    for _ in range(5)
                ]
                for job_id in few:
                    await env.wait_for_end(job_id, 60.0)

    places = [work.clip_names.index(job_id) - before for job_id in few]
    assert max(places) < BACKLOG // 2  # in turn it is every second; in a line the last of them
    assert places == sorted(places)


async def _have_started(work: AnalysisSpy, count: int) -> bool | None:
    return len(work.clip_names) >= count or None


async def test_interactive_jobs_overtake_bulk_jobs(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    bulk = [await submit_job(client) for _ in range(4)]
    urgent = [await submit_job(client, query="?priority=interactive") for _ in range(2)]
    work = AnalysisSpy()
    async with env.running_worker(work.analyse):
        for job_id in (*bulk, *urgent):
            await env.wait_for_end(job_id)

    assert set(work.clip_names[:2]) == set(urgent)
    assert (await client.get(f"/v1/jobs/{urgent[0]}")).json()["priority"] == "interactive"


async def test_an_expired_job_is_as_if_deleted(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    brief = env.settings.model_copy(update={"job_ttl_seconds": 0.5})
    key = {"Idempotency_Key": "once"}
    job_id = (await post_clip(client, **key)).json()["id"]
    async with LeaseManager.open(brief) as ledger:
        async with dataclasses.replace(env, settings=brief, leases=ledger).running_worker(
            make_fake_analysis(3)
        ):
            await env.wait_for_end(job_id)
        kept = (await client.get(f"/v1/jobs/{job_id}")).json()
        async with QueueMaintenance.open(brief) as upkeep:

            async def expired() -> int | None:
                return await upkeep.expire_jobs() or None

            assert await eventually(expired) == 1
            assert await upkeep.list_purgeable_jobs() == [job_id]

    assert kept["expires_at"] > kept["finished_at"]
    assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 404
    assert (await client.get("/v1/jobs")).json()["jobs"] == []
    anew = await post_clip(client, **key)
    assert anew.json()["id"] != job_id
    assert "idempotency-replayed" not in anew.headers
