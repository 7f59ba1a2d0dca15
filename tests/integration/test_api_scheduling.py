"""Order and expiry of jobs over REST: fairness between keys, priorities, retention."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.auth.authenticator import Authenticator
from service.auth.key_store import ApiKeyStore
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.database import QueueMaintenance
from service.jobs.queue.leases import LeaseManager
from tests.integration.auth.key_requests import bearer_headers, create_token
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_client import AnalysisSpy, open_client, post_clip, submit_job
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.rpc.grpc_client import make_submit_requests, open_grpc_client
from tests.integration.servers import serving, serving_grpc

BACKLOG = 60


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def test_backlog_of_one_key_hardly_delays_another_key(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    settings = env.settings.model_copy(update={"access": "keys"})
    work = AnalysisSpy(3, 0.03)
    async with Authenticator.open(settings) as authenticator, ApiKeyStore.open(settings) as keys:
        busy, other = await create_token(keys), await create_token(keys)
        app = create_app(dataclasses.replace(gateway, authenticator=authenticator))
        async with serving(app) as address, open_client(address) as client:
            for _ in range(BACKLOG):
                assert (await post_clip(client, headers=bearer_headers(busy))).status_code == 202
            async with env.running_worker(work.analyse):
                await eventually(lambda: _have_started(work, 6), 60.0)
                before = len(work.clip_names)
                few = [
                    (await post_clip(client, headers=bearer_headers(other))).json()["id"]
                    for _ in range(5)
                ]
                for job_id in few:
                    await env.wait_for_end(job_id, 60.0)

    positions = [work.clip_names.index(job_id) - before for job_id in few]
    assert max(positions) < BACKLOG // 2  # fair: every second job; first in, first out: the last
    assert positions == sorted(positions)


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


async def test_expired_job_is_deleted(client: httpx.AsyncClient, env: JobEnvironment) -> None:
    brief = env.settings.model_copy(update={"job_ttl_seconds": 0.5})
    headers = {"Idempotency-Key": "once"}
    job_id = (await post_clip(client, headers=headers)).json()["id"]
    async with LeaseManager.open(brief) as leases:
        async with dataclasses.replace(env, settings=brief, leases=leases).running_worker(
            make_fake_analysis(3)
        ):
            await env.wait_for_end(job_id)
        finished = (await client.get(f"/v1/jobs/{job_id}")).json()
        async with QueueMaintenance.open(brief) as maintenance:

            async def expired() -> int | None:
                return await maintenance.expire_jobs() or None

            assert await eventually(expired) == 1
            assert await maintenance.list_purgeable_jobs() == [job_id]

    assert finished["expires_at"] > finished["finished_at"]
    assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 404
    assert (await client.get("/v1/jobs")).json()["jobs"] == []
    repeated = await post_clip(client, headers=headers)
    assert repeated.json()["id"] != job_id
    assert "idempotency-replayed" not in repeated.headers


async def test_work_is_shared_by_address_where_no_key_is_required(
    gateway: GatewayContext, client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    """The address stays inside: jobs belong to everybody, and no answer shows it."""
    job = (await post_clip(client)).json()
    async with (
        serving_grpc(gateway, 0) as port,
        open_grpc_client(f"127.0.0.1:{port}") as grpc_client,
    ):
        other_id = (await grpc_client.jobs.SubmitJob(make_submit_requests(b"clip"))).job.id
    records = [await env.queue.find(job_id) for job_id in (job["id"], other_id)]
    assert {record.client_id for record in records} == {"address:127.0.0.1"}
    assert {record.owner for record in records} == {"anyone"}
    assert "127.0.0.1" not in str(job)
