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

from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from service.jobs.record import JobRecord, JobState
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.processes import running_service
from tests.integration.servers import RedisServer, running_redis


async def _wait_for_progress(rooms: JobEnvironment, job_id: str) -> JobRecord:
    async def look() -> JobRecord | None:
        record = await rooms.queue.find(job_id)
        return record if record.frames_done > 0 else None

    return await eventually(look, 30.0)


async def _wait_for_exit(process: subprocess.Popen[bytes], seconds: float = 20.0) -> int:
    return await asyncio.to_thread(process.wait, seconds)


async def test_a_job_outlives_the_worker_that_is_killed(env: JobEnvironment) -> None:
    job_id = await env.submit()
    with running_service(env.settings, "worker", "1000", "0.05") as process:
        assert (await _wait_for_progress(env, job_id)).attempt == 1
        process.send_signal(signal.SIGKILL)
        assert await _wait_for_exit(process) == -signal.SIGKILL

    assert (await env.queue.find(job_id)).state is JobState.RUNNING
    async with env.running_worker(make_fake_analysis(5)):
        record = await env.wait_for_end(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 2, 1)
    assert env.list_stored_files("results") == ["2.csv", "2.json"]


async def test_a_frozen_worker_is_superseded_and_cannot_publish(env: JobEnvironment) -> None:
    job_id = await env.submit()
    with running_service(env.settings, "worker", "40", "0.05") as process:
        await _wait_for_progress(env, job_id)
        process.send_signal(signal.SIGSTOP)
        async with env.running_worker(make_fake_analysis(5)):
            record = await env.wait_for_end(job_id)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert await _wait_for_exit(process) == 0

    assert (record.attempt, record.published, record.frames_done) == (2, 2, 5)
    assert await env.queue.find(job_id) == record
    assert env.list_stored_files("results") == ["2.csv", "2.json"]


async def test_a_worker_told_to_stop_finishes_its_job_and_exits_cleanly(
    env: JobEnvironment,
) -> None:
    job_id = await env.submit()
    port = env.settings.worker_metrics_port
    with running_service(env.settings, "worker", "30", "0.05") as process:
        await _wait_for_progress(env, job_id)
        async with httpx.AsyncClient() as client:
            metrics = await client.get(f"http://127.0.0.1:{port}/metrics")
        process.send_signal(signal.SIGTERM)
        assert await _wait_for_exit(process) == 0

    assert "circumplex_job_queue_wait_seconds_count 1.0" in metrics.text
    assert (await env.queue.find(job_id)).state is JobState.SUCCEEDED


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
    env: JobEnvironment,
    tmp_path: Path,
    away: Callable[[RedisServer], AbstractContextManager[None]],
) -> None:
    with running_redis(tmp_path) as server:
        # its only job keeps the worker from asking Redis for more, and so from seeing the outage
        update = {"redis_url": server.url, "worker_concurrency": 1, "drain_seconds": 8.0}
        settings = env.settings.model_copy(update=update)
        async with LeaseManager.open(settings) as ledger, JobQueue.open(settings) as desk:
            moved = dataclasses.replace(env, settings=settings, leases=ledger, queue=desk)
            job_id = await moved.submit()
            with running_service(settings, "worker", "40", "0.05") as process:
                await _wait_for_progress(moved, job_id)
                with away(server):
                    process.send_signal(signal.SIGTERM)
                    assert await _wait_for_exit(process, settings.drain_seconds + 15.0) == 0


async def test_a_job_outlives_a_restart_of_redis(
    env: JobEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with LeaseManager.open(settings) as ledger, JobQueue.open(settings) as desk:
            moved = dataclasses.replace(env, settings=settings, leases=ledger, queue=desk)
            job_id = await moved.submit()
            async with moved.running_worker(make_fake_analysis(60, frame_seconds=0.05)):
                await _wait_for_progress(moved, job_id)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(1.0)
                await asyncio.to_thread(server.start)
                record = await moved.wait_for_end(job_id)
                another = await moved.submit()
                assert (await moved.wait_for_end(another)).state is JobState.SUCCEEDED

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)


async def test_an_outage_longer_than_the_lease_starts_no_job_again(
    env: JobEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two workers: the idle one must not take what the busy one could not renew."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with LeaseManager.open(settings) as ledger, JobQueue.open(settings) as desk:
            moved = dataclasses.replace(env, settings=settings, leases=ledger, queue=desk)
            job_id = await moved.submit()
            analyse = make_fake_analysis(120, frame_seconds=0.05)
            async with moved.running_worker(analyse), moved.running_worker(analyse):
                await _wait_for_progress(moved, job_id)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(3 * settings.lease_seconds)
                await asyncio.to_thread(server.start)
                record = await moved.wait_for_end(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 1, 0)
