"""Server-sent events of a job, and waiting for its end."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from pathlib import Path

import httpx
import pytest

from service.api.app import create_app
from service.errors import ClipNotMedia
from service.jobs.desk import Desk
from service.jobs.ledger import Ledger
from service.office.gateway import Gateway
from service.office.watchers import Watchers
from tests.integration.lives import Happening, client_of, events_of, post_clip, submitted
from tests.integration.pretence import analysis_of, failing_with
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import RedisServer, running_redis, serving

PATIENT_SECONDS = 30


@pytest.fixture
async def client(address: str) -> AsyncGenerator[httpx.AsyncClient]:
    async with client_of(address) as client:
        yield client


async def _all(events: AsyncIterator[Happening]) -> list[Happening]:
    return [event async for event in events]


async def test_events_tell_a_job_from_now_to_its_end(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    job_id = await submitted(client)
    async with events_of(client, job_id) as events:
        following = asyncio.create_task(_all(events))
        async with rooms.worker(analysis_of(60, 0.05)):
            told = await asyncio.wait_for(following, 60)

    states = [event.data["state"] for event in told if event.name == "state"]
    assert states == ["queued", "running", "succeeded"]
    progress = [event.data["progress"] for event in told if event.name == "progress"]
    assert progress
    assert [each["frames_done"] for each in progress] == sorted(
        each["frames_done"] for each in progress
    )
    assert max(each["eta_seconds"] or 0 for each in progress) > 0
    assert told[-1].data["progress"]["fraction"] == 1.0
    assert {job_id} == {event.data["job_id"] for event in told}
    assert len({event.id for event in told}) == len(told)


async def test_events_go_on_after_the_last_one_that_arrived(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    job_id = await submitted(client)
    told: list[Happening] = []
    async with rooms.worker(analysis_of(80, 0.05)):
        while not told or told[-1].data["state"] != "succeeded":
            async with events_of(client, job_id, told[-1].id if told else None) as events:
                async for event in events:
                    told.append(event)
                    if len(told) % 2 == 0:
                        break  # a connection that is lost after every second event
    kept = await rooms.desk.events.since(job_id, "0-0")

    ids = [event.id for event in told]
    assert ids == [event.id for event in kept if event.id >= (ids[0] or "")]
    assert told[-1].data["state"] == "succeeded"


async def test_who_has_heard_the_end_is_told_not_to_come_back(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    job_id = await submitted(client)
    async with rooms.worker(failing_with(ClipNotMedia())):
        await rooms.finished(job_id)
    async with events_of(client, job_id) as events:
        (last,) = await _all(events)

    again = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last.id or ""})

    assert (last.data["state"], last.data["error_code"]) == ("failed", "clip_not_media")
    assert (again.status_code, again.content) == (204, b"")


async def test_events_end_when_the_job_is_deleted(client: httpx.AsyncClient) -> None:
    job_id = await submitted(client)
    async with events_of(client, job_id) as events:
        first = await anext(events)
        await client.delete(f"/v1/jobs/{job_id}")
        (last,) = await asyncio.wait_for(_all(events), PATIENT_SECONDS)

    assert (first.name, first.data["state"]) == ("state", "queued")
    assert (last.name, last.id, last.data) == ("deleted", None, {"job_id": job_id})


async def test_events_outlive_a_gateway(gateway: Gateway, rooms: Rooms) -> None:
    job_id = await rooms.submit()
    told: list[Happening] = []
    async with rooms.worker(analysis_of(100, 0.05)):
        for _ in range(2):
            app = create_app(dataclasses.replace(gateway, watchers=Watchers()))
            async with serving(app) as address, client_of(address) as client:
                last = told[-1].id if told else None
                async with events_of(client, job_id, last) as events:
                    stop = len(told) + 3
                    async for event in events:
                        told.append(event)
                        if len(told) == stop and last is None:
                            break

    ids = [event.id for event in told]
    kept = [event.id for event in await rooms.desk.events.since(job_id, "0-0")]
    assert ids == kept[kept.index(ids[0] or "") :]
    assert told[-1].data["state"] == "succeeded"


async def test_a_stopping_gateway_ends_streams_and_waits_at_once(gateway: Gateway) -> None:
    async with contextlib.AsyncExitStack() as held:
        async with serving(create_app(gateway)) as address:
            client = await held.enter_async_context(client_of(address))
            job_id = await submitted(client)
            events = await held.enter_async_context(events_of(client, job_id))
            await anext(events)
            waiting = asyncio.create_task(
                client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
            )
            await eventually(lambda: _watchers(gateway, 2))
            stopped = time.monotonic()
        seconds = time.monotonic() - stopped
        rest = await asyncio.wait_for(_all(events), PATIENT_SECONDS)
        answer = await asyncio.wait_for(waiting, PATIENT_SECONDS)

    assert rest == []
    assert (answer.status_code, answer.json()["state"]) == (200, "queued")
    assert seconds < 20


async def _watchers(gateway: Gateway, count: int) -> bool | None:
    return gateway.watchers.count == count or None


async def test_a_watcher_that_goes_away_frees_its_seat(
    client: httpx.AsyncClient, gateway: Gateway
) -> None:
    job_id = await submitted(client)
    async with events_of(client, job_id) as events:
        await anext(events)
        assert gateway.watchers.count == 1
    with pytest.raises(httpx.ReadTimeout):
        await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}, timeout=0.5)

    assert await eventually(lambda: _watchers(gateway, 0))


async def test_more_watchers_than_are_served_are_refused(gateway: Gateway) -> None:
    few = gateway.settings.model_copy(update={"max_subscribers": 1})
    app = create_app(dataclasses.replace(gateway, settings=few))
    async with serving(app) as address, client_of(address) as client:
        job_id = await submitted(client)
        async with events_of(client, job_id) as events:
            await anext(events)
            refused = await client.get(f"/v1/jobs/{job_id}/events")
            unheard = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})

    assert (refused.status_code, refused.json()["code"]) == (503, "watchers_full")
    assert "retry-after" in refused.headers
    assert unheard.status_code == 200
    assert "preference-applied" not in unheard.headers


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Generator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


async def test_streams_and_waits_outlast_an_outage_of_the_queue(
    gateway: Gateway, rooms: Rooms, own_redis: RedisServer, tmp_path: Path
) -> None:
    settings = rooms.settings.model_copy(update={"redis_url": own_redis.url})
    async with Desk.open(settings) as desk, Ledger.open(settings) as ledger:
        theirs = dataclasses.replace(rooms, settings=settings, desk=desk, ledger=ledger)
        moved = dataclasses.replace(gateway, settings=settings, desk=desk)

        async def both_wait() -> bool | None:
            return moved.watchers.count == 2 or None

        async with serving(create_app(moved)) as address, client_of(address) as client:
            job_id = await submitted(client)
            async with events_of(client, job_id) as events:
                await anext(events)
                waiting = asyncio.create_task(
                    client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"})
                )
                await eventually(both_wait)
                await asyncio.to_thread(own_redis.stop)
                await asyncio.sleep(1.0)  # away for a while
                await asyncio.to_thread(own_redis.start)
                async with theirs.worker(analysis_of(3)):
                    told = await asyncio.wait_for(_all(events), PATIENT_SECONDS)
                answer = await asyncio.wait_for(waiting, PATIENT_SECONDS)

    assert told[-1].data["state"] == "succeeded"
    assert answer.json()["state"] == "succeeded"


@pytest.mark.parametrize("last_id", ["what", "1-", "-1", "1-1-1", "1" * 20])
async def test_an_event_id_that_is_none_is_refused(client: httpx.AsyncClient, last_id: str) -> None:
    job_id = await submitted(client)

    answer = await client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last_id})

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_a_patient_client_is_answered_when_the_job_has_ended(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    async with rooms.worker(analysis_of(10, 0.05)):
        posted = await post_clip(client, Prefer="respond-async, wait=45")
        job_id = await submitted(client)
        got = await client.get(f"/v1/jobs/{job_id}", headers={"Prefer": 'WAIT = "45" ; a=b'})

    for answer in (posted, got):
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers["preference-applied"] == "wait=45"
        assert "retry-after" not in answer.headers


async def test_patience_ends_with_its_time(gateway: Gateway) -> None:
    settings = gateway.settings.model_copy(update={"max_prefer_wait_seconds": 1})
    app = create_app(dataclasses.replace(gateway, settings=settings))
    async with serving(app) as address, client_of(address) as client:
        posted = await post_clip(client, Prefer="wait=3600")
        got = await client.get(posted.headers["location"], headers={"Prefer": "wait=1"})

    assert (posted.status_code, posted.json()["state"]) == (202, "queued")
    assert (got.status_code, got.json()["state"]) == (200, "queued")
    for answer in (posted, got):
        assert answer.headers["preference-applied"] == "wait=1"
        assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "return=minimal"])
async def test_a_preference_that_cannot_be_read_is_passed_over(
    client: httpx.AsyncClient, prefer: str
) -> None:
    answer = await post_clip(client, Prefer=prefer)

    assert answer.status_code == 202
    assert "preference-applied" not in answer.headers


async def test_waiting_for_a_job_that_is_deleted_ends_with_it(client: httpx.AsyncClient) -> None:
    job_id = await submitted(client)
    waiting = asyncio.create_task(client.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=60"}))
    await asyncio.sleep(0.3)
    await client.delete(f"/v1/jobs/{job_id}")

    answer = await asyncio.wait_for(waiting, PATIENT_SECONDS)
    assert (answer.status_code, answer.json()["code"]) == (404, "job_unknown")
