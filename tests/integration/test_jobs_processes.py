"""Tests of worker processes that are killed, frozen or stopped, and of outages of Redis."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from service.jobs.record import JobState
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, until
from tests.integration.processes import running_service
from tests.integration.servers import RedisServer, running_redis


async def _wait_for_exit(process: subprocess.Popen[bytes], seconds: float = 20.0) -> int:
    return await asyncio.to_thread(process.wait, seconds)


async def test_a_job_outlives_the_worker_that_is_killed(env: JobEnvironment) -> None:
    job_id = await env.submit()
    with running_service(env.settings, "worker", "1000", "0.05") as process:
        assert (await env.wait_for_progress(job_id)).attempt == 1
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
        await env.wait_for_progress(job_id)
        process.send_signal(signal.SIGSTOP)
        async with env.running_worker(make_fake_analysis(5)):
            record = await env.wait_for_end(job_id)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        assert await _wait_for_exit(process) == 0

    assert (record.attempt, record.published, record.frames_done) == (2, 2, 5)
    assert await env.queue.find(job_id) == record
    assert env.list_stored_files("results") == ["2.csv", "2.json"]


async def test_a_stopped_worker_finishes_its_job_and_exits_cleanly(
    env: JobEnvironment,
) -> None:
    job_id = await env.submit()
    port = env.settings.worker_metrics_port
    with running_service(env.settings, "worker", "30", "0.05") as process:
        await env.wait_for_progress(job_id)
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


@pytest.mark.parametrize("outage", [_stopped, RedisServer.frozen])
async def test_a_stopped_worker_exits_in_time_though_redis_is_unavailable(
    env: JobEnvironment,
    tmp_path: Path,
    outage: Callable[[RedisServer], AbstractContextManager[None]],
) -> None:
    with running_redis(tmp_path) as server:
        # with one job at a time the worker claims no more, and so does not notice the outage
        update = {"redis_url": server.url, "worker_concurrency": 1, "drain_seconds": 8.0}
        settings = env.settings.model_copy(update=update)
        async with env.with_settings(settings) as moved:
            job_id = await moved.submit()
            with running_service(settings, "worker", "40", "0.05") as process:
                await moved.wait_for_progress(job_id)
                with outage(server):
                    process.send_signal(signal.SIGTERM)
                    assert await _wait_for_exit(process, settings.drain_seconds + 15.0) == 0


async def test_a_job_outlives_a_restart_of_redis(
    env: JobEnvironment, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_redis(tmp_path) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with env.with_settings(settings) as moved:
            job_id = await moved.submit()
            async with moved.running_worker(make_fake_analysis(60, frame_seconds=0.05)):
                await moved.wait_for_progress(job_id)
                await asyncio.to_thread(server.stop)
                await until(lambda: "its lease is not renewed" in caplog.text)
                await asyncio.to_thread(server.start)
                record = await moved.wait_for_end(job_id)
                another = await moved.submit()
                assert (await moved.wait_for_end(another)).state is JobState.SUCCEEDED

    assert (record.state, record.attempt) == (JobState.SUCCEEDED, 1)


async def test_an_outage_longer_than_the_lease_starts_no_job_again(
    env: JobEnvironment, tmp_path: Path
) -> None:
    """With two workers: the idle one must not claim the job that the other could not renew."""
    with running_redis(tmp_path) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with env.with_settings(settings) as moved:
            job_id = await moved.submit()
            analyse = make_fake_analysis(120, frame_seconds=0.05)
            async with moved.running_worker(analyse), moved.running_worker(analyse):
                await moved.wait_for_progress(job_id)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(3 * settings.lease_seconds)  # the length of the outage
                await asyncio.to_thread(server.start)
                record = await moved.wait_for_end(job_id)

    assert (record.state, record.attempt, record.lost) == (JobState.SUCCEEDED, 1, 0)
