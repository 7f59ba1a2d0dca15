"""Tests of the changes of jobs that processes are notified of, on every version of Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

from service.jobs.queue.changes import wait_for_change
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import running_redis

LONG_SECONDS = 30.0
"""Longer than any test waits for a change that comes."""


async def _notified(changed: asyncio.Event) -> bool:
    """Wait for the event, and clear it."""
    await wait_for_change(changed, LONG_SECONDS)
    was_set = changed.is_set()
    changed.clear()
    return was_set


async def test_each_change_of_a_job_notifies_its_subscriber(env: JobEnvironment) -> None:
    job_id = await env.submit()
    with env.queue.changes.subscribe(job_id) as changed:
        assert await _notified(changed)  # the reader has begun
        claim = await env.claim()
        assert await _notified(changed)
        await env.leases.succeed(claim, frames=1, result_bytes=6)
        assert await _notified(changed)
        await env.queue.remove(job_id)
        assert await _notified(changed)


async def test_the_end_of_a_job_notifies_who_waits_for_it_and_its_start_does_not(
    env: JobEnvironment,
) -> None:
    job_id = await env.submit()
    changes = env.leases.changes
    with changes.subscribe(job_id) as changed, changes.subscribe_to_end(job_id) as ended:
        assert await _notified(changed)  # the reader has begun
        assert await _notified(ended)
        claim = await env.claim()
        assert await _notified(changed)
        assert not ended.is_set()
        await env.leases.succeed(claim, frames=1, result_bytes=6)
        assert await _notified(ended)


async def test_the_removal_of_a_job_notifies_who_waits_for_its_end(env: JobEnvironment) -> None:
    job_id = await env.submit()
    with env.queue.changes.subscribe_to_end(job_id) as ended:
        assert await _notified(ended)
        await env.queue.remove(job_id)
        assert await _notified(ended)


async def test_queued_jobs_notify_a_worker_and_other_changes_do_not(env: JobEnvironment) -> None:
    running = await env.submit()
    claim = await env.claim()
    changes = env.leases.changes
    with changes.subscribe_to_queued() as queued, changes.subscribe(running) as changed:
        assert await _notified(queued)
        assert await _notified(changed)
        await env.leases.succeed(claim, frames=1, result_bytes=6)
        assert await _notified(changed)
        assert not queued.is_set()
        await env.submit()
        assert await _notified(queued)


async def test_subscribers_are_notified_after_an_outage(
    env: JobEnvironment, redis_version: str, tmp_path: Path
) -> None:
    with running_redis(tmp_path, redis_version) as server:
        settings = env.settings.model_copy(update={"redis_url": server.url})
        async with env.with_settings(settings) as other:
            with other.queue.changes.subscribe_to_queued() as queued:
                assert await _notified(queued)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await other.submit()
                assert await _notified(queued)
