"""Batching of the requests of several streams."""

import asyncio
from collections.abc import Sequence

import pytest

from service.streaming.batching import MicroBatcher


class DoublingModel:
    """Doubles numbers once replies are allowed; fails for negative ones."""

    def __init__(self) -> None:
        self.replies_allowed = asyncio.Event()
        self.calls: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append([*numbers])
        await self.replies_allowed.wait()
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


def make_batcher(
    model: DoublingModel,
    *,
    max_size: int = 10,
    economical_size: int | None = None,
    wait_seconds: float = 0.0,
) -> MicroBatcher[int, int]:
    return MicroBatcher(
        model,
        size_of=lambda _: 1,
        max_size=max_size,
        economical_size=economical_size,
        wait_seconds=wait_seconds,
    )


async def test_requests_during_a_call_share_the_next_batch() -> None:
    model = DoublingModel()
    batcher = make_batcher(model)
    results = [asyncio.create_task(batcher.submit(number)) for number in range(4)]
    await asyncio.sleep(0)
    later = [asyncio.create_task(batcher.submit(number)) for number in range(4, 7)]
    await asyncio.sleep(0)
    model.replies_allowed.set()
    assert await asyncio.gather(*results, *later) == [0, 2, 4, 6, 8, 10, 12]
    assert [number for call in model.calls for number in call] == list(range(7))
    assert len(model.calls) == 2


async def test_batch_size_is_bounded() -> None:
    model = DoublingModel()
    model.replies_allowed.set()
    batcher = make_batcher(model, max_size=3)
    assert await asyncio.gather(*(batcher.submit(number) for number in range(8))) == [
        2 * number for number in range(8)
    ]
    assert max(len(call) for call in model.calls) == 3


async def test_error_reaches_only_its_own_batch() -> None:
    model = DoublingModel()
    model.replies_allowed.set()
    batcher = make_batcher(model, max_size=1)
    good, bad, after = await asyncio.gather(
        batcher.submit(1), batcher.submit(-1), batcher.submit(2), return_exceptions=True
    )
    assert (good, after) == (2, 4)
    assert isinstance(bad, ValueError)


async def test_cancelled_request_is_not_sent() -> None:
    model = DoublingModel()
    batcher = make_batcher(model)
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cancelled, other = (asyncio.create_task(batcher.submit(number)) for number in (2, 3))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    model.replies_allowed.set()
    assert await asyncio.gather(first, other) == [2, 6]
    assert 2 not in [number for call in model.calls for number in call]


async def test_request_waits_briefly_for_other_streams() -> None:
    model = DoublingModel()
    model.replies_allowed.set()
    batcher = make_batcher(model, wait_seconds=0.05)
    batcher.active_streams = 3
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    assert model.calls == []
    assert await asyncio.gather(first, batcher.submit(2), batcher.submit(3)) == [2, 4, 6]
    assert model.calls == [[1, 2, 3]]
    assert await batcher.submit(4) == 8


async def test_request_waits_for_no_more_than_an_economical_batch() -> None:
    model = DoublingModel()
    model.replies_allowed.set()
    batcher = make_batcher(model, economical_size=2, wait_seconds=60.0)
    batcher.active_streams = 3
    assert await asyncio.gather(batcher.submit(1), batcher.submit(2)) == [2, 4]
    assert model.calls == [[1, 2]]
