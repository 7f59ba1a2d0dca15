"""Memory of decode processes: the sum fits the machine, and grants are given in order."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.decoding.memory_pool import (
    CLIP_GRANT_BYTES,
    MAX_GRANT_BYTES,
    MIN_STREAM_GRANT_BYTES,
    MemoryPlan,
    MemoryPool,
    measure_memory_bytes,
)
from service.errors import TooManyStreams
from service.settings import Settings

GIBIBYTE = 2**30


@pytest.mark.parametrize("gibibytes", [1, 2, 4, 8, 24, 512])
def test_the_processes_of_worker_and_gateway_fit_the_machine_in_sum(gibibytes: int) -> None:
    memory_bytes = gibibytes * GIBIBYTE
    clips = MemoryPlan.for_clips(Settings(), memory_bytes)
    streams = MemoryPlan.for_streams(Settings(max_streams=4), memory_bytes)

    assert clips.pool_bytes + streams.pool_bytes <= 0.6 * memory_bytes
    for plan in (clips, streams):
        assert plan.normal_bytes <= plan.largest_bytes <= min(plan.pool_bytes, MAX_GRANT_BYTES)
    assert clips.normal_bytes == min(CLIP_GRANT_BYTES, clips.pool_bytes)
    assert streams.normal_bytes >= min(MIN_STREAM_GRANT_BYTES, streams.pool_bytes)


def test_a_fixed_grant_replaces_the_share() -> None:
    plan = MemoryPlan.for_clips(Settings(decode_memory_bytes=2**28), 8 * GIBIBYTE)
    assert (plan.normal_bytes, plan.largest_bytes) == (2**28, 2**28)
    with_more = MemoryPlan.for_clips(Settings(decode_memory_bytes=8 * GIBIBYTE), GIBIBYTE)
    assert with_more.pool_bytes == with_more.normal_bytes == 8 * GIBIBYTE


async def _let_others_run() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_grants_wait_for_room_in_their_order() -> None:
    pool = MemoryPool(MemoryPlan(pool_bytes=10, normal_bytes=4, largest_bytes=10))
    begun: list[str] = []
    gates = {name: asyncio.Event() for name in "abcd"}

    async def run(name: str, size: int) -> None:
        async with pool.wait_for_grant(size):
            begun.append(name)
            await gates[name].wait()

    tasks = [asyncio.create_task(run(*each)) for each in (("a", 4), ("b", 4), ("c", 10), ("d", 4))]
    await _let_others_run()
    assert begun == ["a", "b"]
    gates["a"].set()
    await _let_others_run()
    assert begun == ["a", "b"]  # there is room for d, but c came first
    gates["b"].set()
    await _let_others_run()
    assert begun == ["a", "b", "c"]
    tasks[2].cancel()
    await _let_others_run()
    assert begun == ["a", "b", "c", "d"]
    gates["d"].set()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(30), pool.wait_for_grant(10):
        pass


async def test_a_cancelled_wait_lets_those_behind_it_pass() -> None:
    pool = MemoryPool(MemoryPlan(pool_bytes=10, normal_bytes=4, largest_bytes=10))
    is_granted = asyncio.Event()

    async def run(size: int) -> None:
        async with pool.wait_for_grant(size):
            is_granted.set()

    async with pool.wait_for_grant(4):
        first, second = asyncio.create_task(run(10)), asyncio.create_task(run(4))
        await _let_others_run()
        assert not is_granted.is_set()
        first.cancel()
        async with asyncio.timeout(30):
            await second
    assert is_granted.is_set()


def test_a_stream_without_memory_is_refused() -> None:
    pool = MemoryPool(MemoryPlan(pool_bytes=10, normal_bytes=4, largest_bytes=4))
    with pool.stream_grant():
        with (
            pool.stream_grant(),
            pytest.raises(TooManyStreams, match="memory") as raised,
            pool.stream_grant(),
        ):
            pass
        with pool.stream_grant():
            pass
    assert raised.value.retryable
    assert raised.value.retry_seconds


def test_the_memory_of_a_control_group_is_a_limit(tmp_path: Path) -> None:
    machine = measure_memory_bytes(tmp_path)
    for content, expected in (("max", machine), (str(2**29), 2**29), (str(2**62), machine)):
        (tmp_path / "memory.max").write_text(content)
        assert measure_memory_bytes(tmp_path) == expected
