"""Server-sent events of a job, and `Prefer: wait`."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from pathlib import Path

import httpx
import pytest

from service.errors import ClipNotMedia
from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownState
from service.gateway.rest.app import create_app
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from tests.integration.fakes import make_failing_analysis, make_fake_analysis
from tests.integration.job_client import (
    ServerSentEvent,
    open_client,
    open_event_stream,
    post_clip,
    submit_job,
)
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.servers import RedisServer, running_redis, serving

TIMEOUT_SECONDS = 30


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with open_client(address) as client:
        yield client


async def _collect_events(events: AsyncIterator[ServerSentEvent]) -> list[ServerSentEvent]:
    return [event async for event in events]


async def test_events_report_a_job_until_its_end(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    async with open_event_stream(client, job_id) as events:
        following = asyncio.create_task(_collect_events(events))
        async with env.running_worker(make_fake_analysis(60, 0.05)):
            received = await asyncio.wait_for(following, 60)

    states = [event.data["state"] for event in received if event.name == "state"]
    assert states == ["queued", "running", "succeeded"]
    progress = [event.data["progress"] for event in received if event.name == "progress"]
    assert progress
    assert [each["frames_done"] for each in progress] == sorted(
        each["frames_done"] for each in progress
    )
    assert max(each["eta_seconds"] or 0 for each in progress) > 0
    assert received[-1].data["progress"]["fraction"] == 1.0
    assert {job_id} == {event.data["job_id"] for event in received}
    assert len({event.id for event in received}) == len(received)


async def test_events_resume_after_the_last_event_id(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    received: list[ServerSentEvent] = []
    async with env.running_worker(make_fake_analysis(80, 0.05)):
        while not received or received[-1].data["state"] != "succeeded":
            async with open_event_stream(
                client, job_id, received[-1].id if received else None
            ) as events:
                async for event in events:
                    received.append(event)
                    if len(received) % 2 == 0:
                        break  # the connection is lost after every second event
    stored = await env.queue.events.read_since(job_id, "0-0")

    ids = [event.id for event in received]
    assert ids == [event.id for event in stored if event.id >= (ids[0] or "")]
    assert received[-1].data["state"] == "succeeded"


async def test_finished_event_stream_returns_204(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    job_id = await submit_job(client)
    async with env.running_worker(make_failing_analysis(ClipNotMedia())):
        await env.wait_for_end(job_id)
    async with open_event_stream(client, job_id) as events:
        (last,) = await _collect_events(events)

    again = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last.id or ""})

    assert (last.data["state"], last.data["error_code"]) == ("failed", "clip_not_media")
    assert (again.status_code, again.content) == (204, b"")


async def test_events_end_when_the_job_is_deleted(client: httpx.AsyncClient) -> None:
    job_id = await submit_job(client)
    async with open_event_stream(client, job_id) as events:
        first = await anext(events)
        await client.delete(f"/v1/jobs/{job_id}")
        (last,) = await asyncio.wait_for(_collect_events(events), TIMEOUT_SECONDS)

    assert (first.name, first.data["state"]) == ("state", "queued")
    assert (last.name, last.id, last.data) == ("deleted", None, {"job_id": job_id})


async def test_events_resume_at_another_gateway(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    job_id = await env.submit()
    received: list[ServerSentEvent] = []
    async with env.running_worker(make_fake_analysis(100, 0.05)):
        for _ in range(2):
            app = create_app(dataclasses.replace(gateway, shutdown=ShutdownState()))
            async with serving(app) as address, open_client(address) as client:
                last = received[-1].id if received else None
                async with open_event_stream(client, job_id, last) as events:
                    stop = len(received) + 3
                    async for event in events:
                        received.append(event)
                        if len(received) == stop and last is None:
                            break

    ids = [event.id for event in received]
    stored = [event.id for event in await env.queue.events.read_since(job_id, "0-0")]
    assert ids == stored[stored.index(ids[0] or "") :]
    assert received[-1].data["state"] == "succeeded"


async def test_stopping_gateway_ends_event_streams_and_long_polls(
    gateway: GatewayContext,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with serving(create_app(gateway)) as address:
            client = await stack.enter_async_context(open_client(address))
            job_id = await submit_job(client)
            events = await stack.enter_async_context(open_event_stream(client, job_id))
            await anext(events)
            waiting = asyncio.create_task(
                client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
            )
            await eventually(lambda: _has_subscribers(gateway, 2))
            stopped = time.monotonic()
        seconds = time.monotonic() - stopped
        rest = await asyncio.wait_for(_collect_events(events), TIMEOUT_SECONDS)
        answer = await asyncio.wait_for(waiting, TIMEOUT_SECONDS)

    assert rest == []
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert seconds < 20


async def _has_subscribers(gateway: GatewayContext, count: int) -> bool | None:
    return gateway.subscriber_limiter.count == count or None


async def test_disconnected_subscriber_frees_its_slot(
    client: httpx.AsyncClient, gateway: GatewayContext
) -> None:
    job_id = await submit_job(client)
    async with open_event_stream(client, job_id) as events:
        await anext(events)
        assert gateway.subscriber_limiter.count == 1
    with pytest.raises(httpx.ReadTimeout):
        await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}, timeout=0.5)

    assert await eventually(lambda: _has_subscribers(gateway, 0))


async def test_subscribers_above_the_limit_are_refused(gateway: GatewayContext) -> None:
    few = gateway.settings.model_copy(update={"max_subscribers": 1})
    app = create_app(dataclasses.replace(gateway, settings=few))
    async with serving(app) as address, open_client(address) as client:
        job_id = await submit_job(client)
        async with open_event_stream(client, job_id) as events:
            await anext(events)
            refused = await client.get(f"/v1/jobs/{job_id}/events")
            waiting = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})

    assert (refused.status_code, refused.json()["code"]) == (503, "watchers_full")
    assert "retry-after" in refused.headers
    assert waiting.status_code == 200
    assert "preference-applied" not in waiting.headers


async def _is_unready(client: httpx.AsyncClient) -> bool | None:
    return (await client.get("/health/ready")).status_code == 503 or None


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def test_event_streams_and_long_polls_survive_a_queue_outage(
    gateway: GatewayContext, env: JobEnvironment, own_redis: RedisServer, tmp_path: Path
) -> None:
    settings = env.settings.model_copy(update={"redis_url": own_redis.url})
    async with JobQueue.open(settings) as queue, LeaseManager.open(settings) as leases:
        other_env = dataclasses.replace(env, settings=settings, queue=queue, leases=leases)
        other = dataclasses.replace(gateway, settings=settings, job_queue=queue)

        async with serving(create_app(other)) as address, open_client(address) as client:
            job_id = await submit_job(client)
            async with open_event_stream(client, job_id) as events:
                await anext(events)
                waiting = asyncio.create_task(
                    client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
                )
                await eventually(lambda: _has_subscribers(other, 2))
                await asyncio.to_thread(own_redis.stop)
                await eventually(lambda: _is_unready(client))
                await asyncio.to_thread(own_redis.start)
                async with other_env.running_worker(make_fake_analysis(3)):
                    received = await asyncio.wait_for(_collect_events(events), TIMEOUT_SECONDS)
                answer = await asyncio.wait_for(waiting, TIMEOUT_SECONDS)

    assert received[-1].data["state"] == "succeeded"
    assert answer.json()["state"] == "succeeded"


@pytest.mark.parametrize("last_id", ["what", "1-", "-1", "1-1-1", "1" * 20])
async def test_invalid_event_id_is_refused(client: httpx.AsyncClient, last_id: str) -> None:
    job_id = await submit_job(client)

    answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last_id})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_prefer_wait_returns_when_the_job_has_ended(
    client: httpx.AsyncClient, env: JobEnvironment
) -> None:
    async with env.running_worker(make_fake_analysis(10, 0.05)):
        posted = await post_clip(client, headers={"Prefer": "respond-async, wait=45"})
        job_id = await submit_job(client)
        polled = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": 'WAIT = "45" ; a=b'})

    for answer in (posted, polled):
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=45"
        assert "retry-after" not in answer.headers


async def test_prefer_wait_times_out(gateway: GatewayContext) -> None:
    settings = gateway.settings.model_copy(update={"max_prefer_wait_seconds": 1})
    app = create_app(dataclasses.replace(gateway, settings=settings))
    async with serving(app) as address, open_client(address) as client:
        posted = await post_clip(client, headers={"Prefer": "wait=3600"})
        polled = await client.get(posted.headers["location"], headers={"Prefer": "wait=1"})

    assert (posted.status_code, posted.json()["state"]) == (202, "queued")
    assert (polled.status_code, polled.json()["state"]) == (200, "queued")
    for answer in (posted, polled):
        assert answer.headers["preference-applied"] == "wait=1"
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "return=minimal"])
async def test_invalid_prefer_header_is_ignored(client: httpx.AsyncClient, prefer: str) -> None:
    answer = await post_clip(client, headers={"Prefer": prefer})

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_prefer_wait_ends_when_the_job_is_deleted(
    client: httpx.AsyncClient, gateway: GatewayContext
) -> None:
    job_id = await submit_job(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}))
    await eventually(lambda: _has_subscribers(gateway, 1))
    await client.delete(f"/v1/jobs/{job_id}")

    answer = await asyncio.wait_for(waiting, TIMEOUT_SECONDS)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_unknown")
