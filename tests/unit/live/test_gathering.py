import asyncio
from collections.abc import Sequence

import pytest

from service.live.gathering import Gathering


class Model:
    """Doubles numbers, when it may; refuses negative ones."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.calls: list[list[int]] = []

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append([*numbers])
        await self.may_answer.wait()
        if min(numbers) < 0:
            raise ValueError("negative")
        return [2 * number for number in numbers]


def gathering(model: Model, *, most: int = 10) -> Gathering[int, int]:
    return Gathering(model, size_of=lambda _: 1, most=most)


async def test_what_comes_while_a_call_is_under_way_is_asked_together() -> None:
    model = Model()
    asked = gathering(model)
    answers = [asyncio.create_task(asked.ask(number)) for number in range(4)]
    await asyncio.sleep(0)
    later = [asyncio.create_task(asked.ask(number)) for number in range(4, 7)]
    await asyncio.sleep(0)
    model.may_answer.set()
    assert await asyncio.gather(*answers, *later) == [0, 2, 4, 6, 8, 10, 12]
    assert [number for call in model.calls for number in call] == list(range(7))
    assert len(model.calls) == 2


async def test_a_call_holds_so_many_at_most() -> None:
    model = Model()
    model.may_answer.set()
    asked = gathering(model, most=3)
    assert await asyncio.gather(*(asked.ask(number) for number in range(8))) == [
        2 * number for number in range(8)
    ]
    assert max(len(call) for call in model.calls) == 3


async def test_an_error_is_told_to_those_it_concerns_and_to_nobody_else() -> None:
    model = Model()
    model.may_answer.set()
    asked = gathering(model, most=1)
    good, bad, after = await asyncio.gather(
        asked.ask(1), asked.ask(-1), asked.ask(2), return_exceptions=True
    )
    assert (good, after) == (2, 4)
    assert isinstance(bad, ValueError)


async def test_who_has_left_is_not_asked_for() -> None:
    model = Model()
    asked = gathering(model)
    first = asyncio.create_task(asked.ask(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left, stays = (asyncio.create_task(asked.ask(number)) for number in (2, 3))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    model.may_answer.set()
    assert await asyncio.gather(first, stays) == [2, 6]
    assert 2 not in [number for call in model.calls for number in call]


async def test_among_several_streams_a_question_waits_a_moment_for_the_others() -> None:
    model = Model()
    model.may_answer.set()
    asked = gathering(model)
    asked.streams = 3
    first = asyncio.create_task(asked.ask(1))
    await asyncio.sleep(0)
    assert model.calls == []
    assert await asyncio.gather(first, asked.ask(2), asked.ask(3)) == [2, 4, 6]
    assert model.calls == [[1, 2, 3]]
    assert await asked.ask(4) == 8
