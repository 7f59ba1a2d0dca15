"""Lists of jobs over REST: order, pages, filters."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from service.errors import AttemptsExhausted, ClipNotMedia
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_client import open_client, submit_job
from tests.integration.job_environment import JobEnvironment


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def _list_job_ids(client: httpx.AsyncClient, **query: str) -> list[str]:
    answer = await client.get("/v1/jobs", params=query)
    assert answer.status_code == 200, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


async def test_jobs_are_listed_newest_first(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/jobs")).json() == {"jobs": [], "next_page_token": None}
    submissions = [await submit_job(client) for _ in range(3)]

    answer = await client.get("/v1/jobs")

    assert submissions[::-1] == [job["id"] for job in answer.json()["jobs"]]
    assert "link" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["jobs"][0] == (await client.get(f"/v1/jobs/{submissions[-1]}")).json()


async def test_each_job_that_is_not_deleted_is_on_exactly_one_page(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    stable: list[str] = []
    transient: list[str] = []
    for number in range(250):
        (stable if number % 5 else transient).append(await env.submit())
    rng = random.Random(5)
    counts: Counter[str] = Counter()
    sizes: list[int] = []
    url: str | None = "/v1/jobs?page_size=23"
    while url is not None:
        answer = await client.get(url)
        jobs = [job["id"] for job in answer.json()["jobs"]]
        counts.update(jobs)
        sizes.append(len(jobs))
        url = answer.links["next"]["url"] if "next" in answer.links else None
        assert (url is None) == (answer.json()["next_page_token"] is None)
        await env.submit()
        for job_id in rng.sample(transient, min(4, len(transient))):
            transient.remove(job_id)
            await env.queue.remove(job_id)

    assert {1} == set(counts.values())
    assert set(stable) <= set(counts)
    assert len(counts) <= 250
    assert {23} >= set(sizes[:5])


async def test_list_is_filtered_by_state_and_error_code(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    done = await submit_job(client)
    async with env.running_worker(make_fake_analysis(3)):
        await env.wait_for_end(done)
    ended: dict[str, str] = {}
    for error in (ClipNotMedia(), AttemptsExhausted()):
        ended[error.code] = await submit_job(client)
        await env.leases.fail(await env.claim(), error)
    cancelled = await submit_job(client)
    await client.post(f"/v1/jobs/{cancelled}:cancel")
    running = await submit_job(client)
    await env.claim()
    queued = await submit_job(client)

    assert [queued] == await _list_job_ids(client, state="queued")
    assert [running] == await _list_job_ids(client, state="running")
    assert [done] == await _list_job_ids(client, state="succeeded")
    assert [cancelled] == await _list_job_ids(client, state="cancelled")
    assert [*ended.values()][::-1] == await _list_job_ids(client, state="failed")
    exhausted = [ended["attempts_exhausted"]]
    assert exhausted == await _list_job_ids(client, state="failed", code="attempts_exhausted")
    assert exhausted == await _list_job_ids(client, code="attempts_exhausted")
    assert await _list_job_ids(client, code="clip_empty") == []
    assert await _list_job_ids(client, state="queued", code="attempts_exhausted") == []


async def test_list_of_an_owner_without_jobs_is_empty(client: httpx.AsyncClient) -> None:
    await submit_job(client)

    assert len(await _list_job_ids(client, owner="anyone")) == 1
    assert await _list_job_ids(client, owner="unknown") == []


@pytest.mark.parametrize(
    "query",
    [
        *({"page_size": "0"}, {"page_size": "201"}, {"page_size": "many"}, {"state": "lost"}),
        *({"page_token": ""}, {"page_token": "0" * 15}, {"page_token": "(1" + "0" * 14}),
        *({"code": "a:b"}, {"code": ""}, {"owner": "*"}, {"owner": "anyone:failed"}),
        {"pagesize": "5"},
    ],
)
async def test_invalid_list_query_is_refused(
    client: httpx.AsyncClient, query: dict[str, Any]
) -> None:
    answer = await client.get("/v1/jobs", params=query)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_concurrent_lists_are_complete(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    submissions = [await env.submit() for _ in range(30)]

    lists = await asyncio.gather(*(_list_job_ids(client, page_size="30") for _ in range(40)))

    assert all(submissions[::-1] == each for each in lists)
