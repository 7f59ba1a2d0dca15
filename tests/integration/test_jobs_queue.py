"""Tests of the queue operations of the gateway, and of what remains in Redis."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator

import pytest

from service.domain.caller import ANONYMOUS, CallerQuotas
from service.errors import (
    DecoderCrashed,
    JobFinished,
    JobNotRetryable,
    JobUnknown,
    QueueFull,
    QuotaExceeded,
)
from service.jobs.queue.database import JobFilter, QueueMaintenance
from service.jobs.queue.events import JobUpdate
from service.jobs.queue.job_queue import JobQueue
from service.jobs.record import JobRecord, JobState, new_job_id
from service.redis_client.client import connect_redis
from tests.integration.fakes import make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually, until
from tests.integration.redis_access import list_keys

PERMANENT_KEYS = {"changes", "last_contact", "last_created", "stored", "virtual_time", "work"}
"""Keys that remain without jobs; their size is bounded by the number of owners."""


async def _list_job_keys(env: JobEnvironment) -> set[str]:
    """List the keys of the queue, except counters, changes and the claims of the last minute."""
    prefix = env.key("")
    async with connect_redis(env.settings.redis_url) as redis:
        names = [key.removeprefix(prefix) for key in await list_keys(redis, prefix)]
    return {name for name in names if name.partition(":")[0] not in PERMANENT_KEYS | {"claim"}}


@pytest.fixture
async def maintenance(env: JobEnvironment) -> AsyncGenerator[QueueMaintenance]:
    async with QueueMaintenance.open(env.settings) as maintenance:
        yield maintenance


def _make_record(
    owner: str = "k1", clip_bytes: int = 10, client_id: str | None = None
) -> JobRecord:
    return JobRecord(
        id=new_job_id(),
        owner=owner,
        client_id=client_id,
        media_type="video/mp4",
        clip_bytes=clip_bytes,
        trace_id="0" * 32,
    )


async def test_a_full_queue_accepts_no_job(env: JobEnvironment) -> None:
    settings = env.settings.model_copy(update={"max_queued_jobs": 2})
    async with JobQueue.open(settings) as queue:
        await queue.submit(_make_record())
        await queue.check_capacity(ANONYMOUS)
        await queue.submit(_make_record("k2"))
        refused = _make_record()
        for step in (queue.submit(refused), queue.check_capacity(ANONYMOUS)):
            with pytest.raises(QueueFull) as caught:
                await step
            assert caught.value.retry_seconds

        await env.claim()
        await queue.submit(refused)


async def test_open_jobs_of_an_owner_are_limited(env: JobEnvironment) -> None:
    limits = CallerQuotas(open_jobs=2)
    caller = dataclasses.replace(ANONYMOUS, owner="k1", limits=limits)
    for _ in range(2):
        await env.queue.submit(_make_record(), limits=limits)
    claim = await env.claim()

    for step in (env.queue.submit(_make_record(), limits=limits), env.queue.check_capacity(caller)):
        with pytest.raises(QuotaExceeded, match="2 jobs"):
            await step
    await env.queue.submit(_make_record("k2"), limits=limits)

    await env.leases.fail(claim, DecoderCrashed())
    await env.queue.submit(_make_record(), limits=limits)
    with pytest.raises(QuotaExceeded):
        await env.queue.retry(claim.job_id, limits=limits)


async def test_stored_bytes_of_an_owner_are_limited(env: JobEnvironment) -> None:
    limits = CallerQuotas(stored_bytes=25)
    first = (await env.queue.submit(_make_record(), limits=limits)).record
    await env.leases.succeed(await env.claim(), frames=1, result_bytes=6)

    with pytest.raises(QuotaExceeded, match="25 bytes"):
        await env.queue.submit(_make_record(), limits=limits)
    await env.queue.submit(_make_record(clip_bytes=9), limits=limits)
    await env.queue.remove(first.id)
    await env.queue.submit(_make_record(clip_bytes=16), limits=limits)
    assert await env.queue.measure_stored_bytes() == 25


async def test_stored_jobs_of_an_owner_are_limited(env: JobEnvironment) -> None:
    limits = CallerQuotas(stored_jobs=2)
    caller = dataclasses.replace(ANONYMOUS, owner="k1", limits=limits)
    first = (await env.queue.submit(_make_record(), limits=limits)).record
    await env.leases.succeed(await env.claim(), frames=1, result_bytes=0)
    await env.queue.submit(_make_record(), limits=limits)

    for step in (env.queue.submit(_make_record(), limits=limits), env.queue.check_capacity(caller)):
        with pytest.raises(QuotaExceeded, match="may keep 2 jobs: delete"):
            await step
    await env.queue.submit(_make_record("k2"), limits=limits)
    await env.queue.remove(first.id)
    await env.queue.submit(_make_record(), limits=limits)


@pytest.mark.parametrize(
    "limits",
    [CallerQuotas(open_jobs=3), CallerQuotas(stored_jobs=3), CallerQuotas(stored_bytes=39)],
    ids=lambda limits: repr(limits),
)
async def test_concurrent_submissions_of_an_address_stay_within_its_quota(
    env: JobEnvironment, limits: CallerQuotas
) -> None:
    async def submit(address: str) -> bool:
        record = _make_record(ANONYMOUS.owner, client_id=f"address:{address}")
        try:
            await env.queue.submit(record, limits=limits)
        except QuotaExceeded:
            return False
        return True

    accepted = await asyncio.gather(*(submit(address) for address in ["192.0.2.1"] * 20))
    assert sum(accepted) == 3
    assert await submit("192.0.2.2")
    assert await env.queue.measure_stored_bytes("address:192.0.2.1") == 30
    assert await env.queue.measure_stored_bytes() == 40


async def test_only_the_purge_entry_of_a_removed_job_remains(
    env: JobEnvironment, maintenance: QueueMaintenance
) -> None:
    ids = [await env.submit() for _ in range(5)]
    await env.leases.succeed(await env.claim(), frames=1, result_bytes=6)
    await env.leases.fail(await env.claim(), DecoderCrashed())
    await env.leases.defer(await env.claim(), seconds=60.0, deferrals=1)
    running = await env.claim()

    for job_id in ids:
        await env.queue.remove(job_id)
        with pytest.raises(JobUnknown):
            await env.queue.remove(job_id)

    assert await _list_job_keys(env) == {"purge"}
    assert sorted(await maintenance.list_purgeable_jobs()) == sorted(ids)
    assert await env.queue.measure_stored_bytes() == 0
    assert running.job_id in ids
    for job_id in ids:
        await maintenance.mark_purged(job_id)
    assert await _list_job_keys(env) == set()


async def test_an_expired_job_is_removed(
    env: JobEnvironment, maintenance: QueueMaintenance
) -> None:
    settings = env.settings.model_copy(update={"job_ttl_seconds": 0.2, "clip_ttl_seconds": 0.0})
    waiting, finished = await env.submit(), await env.submit()
    async with JobQueue.open(settings) as queue:
        await queue.cancel(finished)

    assert await maintenance.list_expired_clips() == [finished]
    with pytest.raises(JobNotRetryable, match="no longer stored"):
        await env.queue.retry(finished)
    assert await maintenance.list_expired_clips() == [finished]
    await maintenance.mark_clip_dropped(finished)
    assert await maintenance.list_expired_clips() == []
    assert await env.queue.measure_stored_bytes() == len(b"clip")

    async def expired() -> int | None:
        return await maintenance.expire_jobs() or None

    assert await eventually(expired) == 1
    assert await maintenance.list_purgeable_jobs() == [finished]
    assert set(await maintenance.find_records([waiting, finished])) == {waiting}
    assert await env.queue.measure_stored_bytes() == len(b"clip")


async def test_a_failed_job_can_be_retried(env: JobEnvironment) -> None:
    job_id = await env.submit()
    await env.leases.fail(await env.claim(), DecoderCrashed())
    failed = JobFilter(owner=None, state=JobState.FAILED, error_code="decoder_crashed")
    assert [job.id for job in (await env.queue.read_page(failed, size=9)).jobs] == [job_id]

    retried = await env.queue.retry(job_id)

    assert (retried.state, retried.error, retried.expires_at) == (JobState.QUEUED, None, None)
    assert (await env.queue.read_page(failed, size=9)).jobs == ()
    async with env.running_worker(make_fake_analysis(3)):
        record = await env.wait_for_end(job_id)
    assert (record.state, record.attempt, record.published) == (JobState.SUCCEEDED, 2, 2)
    with pytest.raises(JobNotRetryable, match="succeeded"):
        await env.queue.retry(job_id)


async def test_a_finished_job_cannot_be_cancelled(env: JobEnvironment) -> None:
    job_id = await env.submit()
    await env.leases.fail(await env.claim(), DecoderCrashed())

    with pytest.raises(JobFinished, match="failed"):
        await env.queue.cancel(job_id)
    for step in (env.queue.cancel("unknown"), env.queue.retry("unknown")):
        with pytest.raises(JobUnknown):
            await step


async def test_a_running_job_stops_soon_after_it_is_cancelled(env: JobEnvironment) -> None:
    job_id = await env.submit()
    async with env.running_worker(make_fake_analysis(1000, frame_seconds=0.05)):
        await env.wait_for_progress(job_id)
        await env.queue.cancel(job_id)
        await env.wait_for_outcome("cancelled", 5.0)

    record = await env.queue.find(job_id)
    assert (record.state, record.published) == (JobState.CANCELLED, None)
    assert env.list_stored_files("results") == []


async def test_pages_hold_each_job_once_newest_first(env: JobEnvironment) -> None:
    mine = [(await env.queue.submit(_make_record())).record.id for _ in range(7)]
    others = (await env.queue.submit(_make_record("k2"))).record.id

    async def read_pages(job_filter: JobFilter) -> list[str]:
        found: list[str] = []
        before = None
        while True:
            page = await env.queue.read_page(job_filter, size=3, before=before)
            found += [job.id for job in page.jobs]
            if (before := page.before) is None:
                return found

    assert await read_pages(JobFilter(owner="k1")) == mine[::-1]
    assert await read_pages(JobFilter(owner=None)) == [others, *mine[::-1]]
    claimed = (await env.claim()).job_id
    assert await read_pages(JobFilter(owner=None, state=JobState.RUNNING)) == [claimed]
    assert len(await read_pages(JobFilter(owner=None, state=JobState.QUEUED))) == 7


async def test_events_report_every_state_and_progress(env: JobEnvironment) -> None:
    job_id = await env.submit()
    events: list[JobUpdate] = []
    watching = asyncio.create_task(_collect_events(env, job_id, events))
    async with env.running_worker(make_fake_analysis(30, frame_seconds=0.1)):
        await watching

    states = [event.state for event in events if event.kind == "state"]
    assert states == [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED]
    done = [event.frames_done for event in events if event.kind == "progress"]
    assert done == sorted(set(done))
    assert done
    for place, event in enumerate(events[:-1]):
        assert await env.queue.events.read_since(job_id, event.id) == events[place + 1 :]
    assert await env.queue.events.read_since(job_id, None) == events[-1:]


async def _collect_events(env: JobEnvironment, job_id: str, events: list[JobUpdate]) -> None:
    async for event in env.queue.events.watch(job_id, "0-0"):
        if event is not None:
            events.append(event)  # noqa: PERF401 - as they arrive, not at the end


async def test_watching_a_removed_job_ends(env: JobEnvironment) -> None:
    job_id = await env.submit()
    events: list[JobUpdate] = []
    watching = asyncio.create_task(_collect_events(env, job_id, events))
    await until(lambda: len(events) == 1)

    await env.queue.remove(job_id)

    with pytest.raises(JobUnknown):
        await asyncio.wait_for(watching, 10.0)
