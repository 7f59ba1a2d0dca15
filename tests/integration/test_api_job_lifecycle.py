"""Cancel, retry and delete jobs over REST, in every state of a job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator

import httpx
import pytest

from service.errors import DecoderCrashed
from service.jobs.queue.database import QueueMaintenance
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import JobState
from service.jobs.worker.job_runner import Analyse
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_client import AnalysisSpy, find_redis_keys, open_client, submit_job
from tests.integration.job_environment import JobEnvironment, eventually

STOP_TIMEOUT_SECONDS = 4.0
"""A cancelled job stops within a second; the rest is slack for a busy machine."""
LONG_ANALYSIS = (2000, 0.05)
"""Frames and seconds per frame: longer than any test."""


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def test_cancelled_queued_job_never_starts(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id, after = await submit_job(client), await submit_job(client)
    work = AnalysisSpy()

    answer = await client.post(f"/v1/jobs/{job_id}:cancel")
    again = await client.post(f"/v1/jobs/{job_id}:cancel")
    async with env.running_worker(work.analyse):
        await env.wait_for_end(after)

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert set(answer.json()["actions"]) == {"delete", "retry"}
    assert (again.status_code, again.json()["id"]) == (200, job_id)
    assert len(work.clip_names) == 1
    assert (await env.queue.find(job_id)).attempt == 0


async def test_cancelled_running_job_stops_at_once_and_publishes_nothing(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    work = AnalysisSpy(*LONG_ANALYSIS)
    async with env.running_worker(work.analyse), asyncio.timeout(30):
        await work.started.wait()
        started = time.monotonic()
        answer = await client.post(f"/v1/jobs/{job_id}:cancel")
        await work.ended.wait()
        seconds = time.monotonic() - started

    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert seconds < STOP_TIMEOUT_SECONDS
    record = await env.queue.find(job_id)
    assert (record.state, record.published) == (JobState.CANCELLED, None)
    assert env.list_stored_files("results") == []
    result = await client.get(f"/v1/jobs/{job_id}/result")
    assert (result.status_code, result.json()["code"]) == (409, "result_not_ready")


@pytest.mark.parametrize(
    "analyse", [make_fake_analysis(3), make_failing_analysis(DecoderCrashed())]
)
async def test_finished_job_cannot_be_cancelled(
    client: httpx.AsyncClient, env: JobEnvironment, analyse: Analyse
) -> None:
    job_id = await submit_job(client)
    async with env.running_worker(analyse):
        before = await env.wait_for_end(job_id)

    answer = await client.post(f"/v1/jobs/{job_id}:cancel")

    assert (answer.status_code, answer.json()["code"]) == (409, "job_finished")
    assert answer.json()["job_id"] == job_id
    assert before == await env.queue.find(job_id)


async def _make_job_in_state(state: str, client: httpx.AsyncClient, env: JobEnvironment) -> str:
    job_id = await submit_job(client)
    if state == "queued":
        return job_id
    if state == "cancelled":
        await client.post(f"/v1/jobs/{job_id}:cancel")
        return job_id
    claim = await env.claim()
    assert claim.job_id == job_id
    if state == "succeeded":
        await env.leases.succeed(claim, frames=3, result_bytes=99)
    elif state == "failed":
        await env.leases.fail(claim, DecoderCrashed())
    elif state == "deferred":
        await env.leases.defer(claim, seconds=60.0, deferrals=1)
    return job_id


@pytest.mark.parametrize(
    "state", ["queued", "running", "deferred", "succeeded", "failed", "cancelled"]
)
async def test_deleted_job_leaves_only_its_purge_entry_and_notices(
    client: httpx.AsyncClient, env: JobEnvironment, state: str
) -> None:
    job_id = await _make_job_in_state(state, client, env)
    assert {"job:<id>", "events:<id>", "index:*"} < await find_redis_keys(env.settings, job_id)

    deleted = await client.delete(f"/v1/jobs/{job_id}")
    responses = [
        await client.get(f"/v1/jobs/{job_id}{more}") for more in ("", "/events", "/result")
    ]
    responses += [await client.delete(f"/v1/jobs/{job_id}")]
    responses += [await client.post(f"/v1/jobs/{job_id}:{verb}") for verb in ("cancel", "retry")]

    assert (deleted.status_code, deleted.content) == (204, b"")
    assert {(404, "job_unknown")} == {(each.status_code, each.json()["code"]) for each in responses}
    assert {"purge", "changes"} == await find_redis_keys(env.settings, job_id)
    assert (await client.get("/v1/jobs")).json() == {"jobs": [], "next_page_token": None}
    assert await env.queue.measure_stored_bytes() == 0


async def test_deleted_running_job_stops_at_once_and_publishes_nothing(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    work = AnalysisSpy(*LONG_ANALYSIS)
    async with env.running_worker(work.analyse), asyncio.timeout(30):
        await work.started.wait()
        started = time.monotonic()
        deleted = await client.delete(f"/v1/jobs/{job_id}")
        await work.ended.wait()
        assert time.monotonic() - started < STOP_TIMEOUT_SECONDS

    assert deleted.status_code == 204
    assert env.list_stored_files("results") == []
    assert {"purge", "changes"} == await find_redis_keys(env.settings, job_id)


async def test_failed_job_is_retried_with_the_same_id(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    async with env.running_worker(make_failing_analysis(DecoderCrashed("at first"))):
        await env.wait_for_end(job_id)
    failed = (await client.get(f"/v1/jobs/{job_id}")).json()

    answer = await client.post(f"/v1/jobs/{job_id}:retry")
    again = await client.post(f"/v1/jobs/{job_id}:retry")
    async with env.running_worker(make_fake_analysis(4)):
        await env.wait_for_end(job_id)
    job = (await client.get(f"/v1/jobs/{job_id}")).json()

    assert failed["actions"]["retry"] == f"POST /v1/jobs/{job_id}:retry"
    assert failed["expires_at"] > failed["finished_at"]
    assert (answer.status_code, again.status_code) == (202, 202)
    assert answer.json()["error"] is answer.json()["finished_at"] is None
    assert (job["state"], job["attempts"], job["error"]) == ("succeeded", 2, None)
    assert failed["created_at"] == job["created_at"]


async def test_cancelled_job_is_retried(client: httpx.AsyncClient, env: JobEnvironment) -> None:
    job_id = await submit_job(client)
    await client.post(f"/v1/jobs/{job_id}:cancel")

    answer = await client.post(f"/v1/jobs/{job_id}:retry")
    async with env.running_worker(make_fake_analysis(4)):
        record = await env.wait_for_end(job_id)

    assert (answer.status_code, answer.json()["state"]) == (202, "queued")
    assert record.state is JobState.SUCCEEDED


async def test_only_a_failed_job_with_a_stored_clip_can_be_retried(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    succeeded = await submit_job(client)
    async with env.running_worker(make_fake_analysis(3)):
        await env.wait_for_end(succeeded)
    running, dropped = await submit_job(client), await submit_job(client)
    assert (await env.claim()).job_id == running
    brief = env.settings.model_copy(update={"clip_ttl_seconds": 0.0})
    async with JobQueue.open(brief) as queue, QueueMaintenance.open(brief) as maintenance:
        await queue.cancel(dropped)
        assert dropped in await maintenance.list_expired_clips()

    answers = [
        await client.post(f"/v1/jobs/{each}:retry") for each in (succeeded, running, dropped)
    ]

    assert {(409, "job_not_retryable")} == {
        (each.status_code, each.json()["code"]) for each in answers
    }
    assert set((await client.get(f"/v1/jobs/{dropped}")).json()["actions"]) == {"delete"}


async def test_running_job_reports_its_eta(client: httpx.AsyncClient, env: JobEnvironment) -> None:
    job_id = await submit_job(client)

    async def eta() -> float | None:
        return (await client.get(f"/v1/jobs/{job_id}")).json()["progress"]["eta_seconds"]

    assert await eta() is None
    async with env.running_worker(make_fake_analysis(2000, 0.01)):
        seconds = await eventually(eta, 30.0)
        await client.delete(f"/v1/jobs/{job_id}")

    assert seconds > 1
