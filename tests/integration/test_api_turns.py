"""Whose job comes first, and how long one is kept, as clients see it."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.access.gate import Gate
from service.access.keyring import KeyRing
from service.api.app import create_app
from service.jobs.ledger import Ledger
from service.jobs.upkeep import Upkeep
from service.office.gateway import Gateway
from tests.integration.access.asking import bearing, token_for
from tests.integration.lives import Work, client_of, post_clip, submitted
from tests.integration.pretence import analysis_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import serving

BACKLOG = 60


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(address) as client:
        yield client


async def test_anothers_backlog_hardly_delays_a_key_with_few_jobs(
    gateway: Gateway, rooms: Rooms
) -> None:
    settings = rooms.settings.model_copy(update={"access": "keys"})
    work = Work(3, 0.03)
    async with Gate.open(settings) as gate, KeyRing.open(settings) as keys:
        busy, other = await token_for(keys), await token_for(keys)
        app = create_app(dataclasses.replace(gateway, gate=gate))
        async with serving(app) as address, client_of(address) as client:
            for _ in range(BACKLOG):
                assert (await post_clip(client, **bearing(busy))).status_code == 202
            async with rooms.worker(work.analyse):
                await eventually(lambda: _have_begun(work, 6), 60.0)
                before = len(work.begun)
                few = [(await post_clip(client, **bearing(other))).json()["id"] for _ in range(5)]
                for job_id in few:
                    await rooms.finished(job_id, 60.0)

    places = [work.begun.index(job_id) - before for job_id in few]
    assert max(places) < BACKLOG // 2  # in turn it is every second; in a line the last of them
    assert places == sorted(places)


async def _have_begun(work: Work, count: int) -> bool | None:
    return len(work.begun) >= count or None


async def test_interactive_jobs_overtake_bulk_jobs(client: httpx.AsyncClient, rooms: Rooms) -> None:
    bulk = [await submitted(client) for _ in range(4)]
    urgent = [await submitted(client, query="?priority=interactive") for _ in range(2)]
    work = Work()
    async with rooms.worker(work.analyse):
        for job_id in (*bulk, *urgent):
            await rooms.finished(job_id)

    assert set(work.begun[:2]) == set(urgent)
    assert (await client.get(f"/v1/jobs/{urgent[0]}")).json()["priority"] == "interactive"


async def test_a_job_whose_time_is_over_is_as_if_deleted(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    brief = rooms.settings.model_copy(update={"job_ttl_seconds": 0.5})
    key = {"Idempotency_Key": "once"}
    job_id = (await post_clip(client, **key)).json()["id"]
    async with Ledger.open(brief) as ledger:
        async with dataclasses.replace(rooms, settings=brief, ledger=ledger).worker(analysis_of(3)):
            await rooms.finished(job_id)
        kept = (await client.get(f"/v1/jobs/{job_id}")).json()
        async with Upkeep.open(brief) as upkeep:

            async def expired() -> int | None:
                return await upkeep.expire() or None

            assert await eventually(expired) == 1
            assert await upkeep.to_purge() == [job_id]

    assert kept["expires_at"] > kept["finished_at"]
    assert (await client.get(f"/v1/jobs/{job_id}")).status_code == 404
    assert (await client.get("/v1/jobs")).json()["jobs"] == []
    anew = await post_clip(client, **key)
    assert anew.json()["id"] != job_id
    assert "idempotency-replayed" not in anew.headers
