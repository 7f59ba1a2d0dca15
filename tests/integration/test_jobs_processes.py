from __future__ import annotations

import asyncio
import dataclasses
import signal
import subprocess
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis

from service.jobs.desk import Desk
from service.jobs.ledger import Ledger
from service.jobs.record import JobRecord, JobState
from tests.integration.pretence import analysis_of
from tests.integration.processes import process_of
from tests.integration.rooms import Rooms, eventually
from tests.integration.servers import RedisServer, running_redis


async def _progressing(rooms: Rooms, job_id: str) -> JobRecord:
    async def look() -> JobRecord | None:
        record = await rooms.desk.find(job_id)
        return record if record.frames_done > 0 else None

    return await eventually(look, 30.0)


async def _ended(process: subprocess.Popen[bytes], seconds: float = 20.0) -> int:
    return await asyncio.to_thread(process.wait, seconds)


async def test_a_job_outlives_the_worker_that_is_killed(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    with process_of(rooms.settings, "worker", "1000", "0.05") as process:
        assert (await _progressing(rooms, job_id)).attempt == 1
        process.send_signal(signal.SIGKILL)
        assert await _ended(process) == -signal.SIGKILL

    assert (await rooms.desk.find(job_id)).state is JobState.RUNNING
    async with rooms.worker(analysis_of(5)):
        record = await rooms.finished(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 1)
    assert rooms.stored("results") == ["2.csv", "2.json"]


async def test_a_worker_that_freezes_comes_back_too_late_to_publish(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    with process_of(rooms.settings, "worker", "40", "0.05") as process:
        await _progressing(rooms, job_id)
        process.send_signal(signal.SIGSTOP)
        async with rooms.worker(analysis_of(5)):
            record = await rooms.finished(job_id)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert await _ended(process) == 0

    assert (record.attempt, record.published, record.frames_done) == (2, 2, 5)
    assert await rooms.desk.find(job_id) == record
    assert rooms.stored("results") == ["2.csv", "2.json"]


async def test_a_worker_told_to_stop_finishes_its_job_and_exits_cleanly(rooms: Rooms) -> None:
    job_id = await rooms.submit()
    port = rooms.settings.worker_metrics_port
    with process_of(rooms.settings, "worker", "30", "0.05") as process:
        await _progressing(rooms, job_id)
        async with httpx.AsyncClient() as client:
            metrics = await client.get(f"http://127.0.0.1:{port}/metrics")
        process.send_signal(signal.SIGTERM)
        assert await _ended(process) == 0

    assert "circumplex_job_queue_wait_seconds_count 1.0" in metrics.text
    assert (await rooms.desk.find(job_id)).state is JobState.SUCCEEDED


@contextmanager
def _stopped(server: RedisServer) -> Generator[None]:
    server.stop()
    yield


@contextmanager
def _frozen(server: RedisServer) -> Generator[None]:
    """Redis keeps its connections and says nothing: what a lost network looks like."""
    with redis.Redis.from_url(server.url) as client:
        process = psutil.Process(client.info("server")["process_id"])
    process.suspend()
    try:
        yield
    finally:
        process.resume()


@pytest.mark.parametrize("away", [_stopped, _frozen])
async def test_a_worker_told_to_stop_ends_in_time_though_redis_is_away(
    rooms: Rooms,
    tmp_path: Path,
    away: Callable[[RedisServer], AbstractContextManager[None]],
) -> None:
    with running_redis(tmp_path) as server:
        # its only job keeps the worker from asking Redis for more, and so from seeing the outage
        update = {"redis_url": server.url, "worker_concurrency": 1, "drain_seconds": 8.0}
        settings = rooms.settings.model_copy(update=update)
        async with Ledger.open(settings) as ledger, Desk.open(settings) as desk:
            moved = dataclasses.replace(rooms, settings=settings, ledger=ledger, desk=desk)
            job_id = await moved.submit()
            with process_of(settings, "worker", "40", "0.05") as process:
                await _progressing(moved, job_id)
                with away(server):
                    process.send_signal(signal.SIGTERM)
                    assert await _ended(process, settings.drain_seconds + 15.0) == 0


async def test_a_job_outlives_a_restart_of_redis(
    rooms: Rooms, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        settings = rooms.settings.model_copy(update={"redis_url": server.url})
        async with Ledger.open(settings) as ledger, Desk.open(settings) as desk:
            moved = dataclasses.replace(rooms, settings=settings, ledger=ledger, desk=desk)
            job_id = await moved.submit()
            async with moved.worker(analysis_of(60, frame_seconds=0.05)):
                await _progressing(moved, job_id)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(1.0)
                await asyncio.to_thread(server.start)
                record = await moved.finished(job_id)
                another = await moved.submit()
                assert (await moved.finished(another)).state is JobState.SUCCEEDED

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)


async def test_an_outage_longer_than_the_lease_starts_no_job_again(
    rooms: Rooms, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two workers: the idle one must not take what the busy one could not renew."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        settings = rooms.settings.model_copy(update={"redis_url": server.url})
        async with Ledger.open(settings) as ledger, Desk.open(settings) as desk:
            moved = dataclasses.replace(rooms, settings=settings, ledger=ledger, desk=desk)
            job_id = await moved.submit()
            analyse = analysis_of(120, frame_seconds=0.05)
            async with moved.worker(analyse), moved.worker(analyse):
                await _progressing(moved, job_id)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(3 * settings.lease_seconds)
                await asyncio.to_thread(server.start)
                record = await moved.finished(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 1, 0)
