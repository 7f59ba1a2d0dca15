import asyncio
from collections.abc import Sequence

import pytest

from service.streaming.batching.micro_batcher import MicroBatcher


class DoublingModel:
    """Doubles numbers, when it may; refuses negative ones."""

    def __init__(self) -> None:
        self.answer_gate = asyncio.Event()
        self.calls: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append([*numbers])
        await self.answer_gate.wait()
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


def make_batcher(model: DoublingModel, *, most: int = 10) -> MicroBatcher[int, int]:
    return MicroBatcher(model, size_of=lambda _: 1, max_size=most)


async def test_requests_during_a_call_share_the_next_batch() -> None:
    model = DoublingModel()
    asked = make_batcher(model)
    answers = [asyncio.create_task(asked.submit(number)) for number in range(4)]
    await asyncio.sleep(0)
    later = [asyncio.create_task(asked.submit(number)) for number in range(4, 7)]
    await asyncio.sleep(0)
    model.answer_gate.set()
    assert await asyncio.gather(*answers, *later) == [0, 2, 4, 6, 8, 10, 12]
    assert [number for call in model.calls for number in call] == list(range(7))
    assert len(model.calls) == 2


async def test_batch_size_is_bounded() -> None:
    model = DoublingModel()
    model.answer_gate.set()
    asked = make_batcher(model, most=3)
    assert await asyncio.gather(*(asked.submit(number) for number in range(8))) == [
        2 * number for number in range(8)
    ]
    assert max(len(call) for call in model.calls) == 3


async def test_error_reaches_only_its_own_batch() -> None:
    model = DoublingModel()
    model.answer_gate.set()
    asked = make_batcher(model, most=1)
    good, bad, after = await asyncio.gather(
        asked.submit(1), asked.submit(-1), asked.submit(2), return_exceptions=True
    )
    assert (good, after) == (2, 4)
    assert isinstance(bad, ValueError)


async def test_cancelled_request_is_not_sent() -> None:
    model = DoublingModel()
    asked = make_batcher(model)
    first = asyncio.create_task(asked.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left, stays = (asyncio.create_task(asked.submit(number)) for number in (2, 3))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    model.answer_gate.set()
    assert await asyncio.gather(first, stays) == [2, 6]
    assert 2 not in [number for call in model.calls for number in call]


async def test_request_waits_briefly_for_other_streams() -> None:
    model = DoublingModel()
    model.answer_gate.set()
    asked = make_batcher(model)
    asked.active_streams = 3
    first = asyncio.create_task(asked.submit(1))
    await asyncio.sleep(0)
    assert model.calls == []
    assert await asyncio.gather(first, asked.submit(2), asked.submit(3)) == [2, 4, 6]
    assert model.calls == [[1, 2, 3]]
    assert await asked.submit(4) == 8
