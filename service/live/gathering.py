"""Questions of many streams, asked together: while one call is under way the next one fills."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")


class Gathering(Generic[Q, A]):
    """Asks one model. Alone a question is asked at once; a busy model gets larger batches."""

    def __init__(
        self,
        call: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        size_of: Callable[[Q], int],
        most: int,
    ) -> None:
        """Args: call: answers questions in order; most: the size of a call, unless one has more."""
        self._call = call
        self._size_of = size_of
        self._most = most
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer; raises what the call raised that held the question."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="gathering")
        return await answer

    async def close(self) -> None:
        """Ask nothing more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._asking = None

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._call([question for question, _ in batch])
        except Exception as error:
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if not waiting.done():
                waiting.set_result(answer)

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        """The questions that wait, in order, as many as fit; those of who has left are let go."""
        batch: list[tuple[Q, asyncio.Future[A]]] = []
        size = 0
        while self._waiting:
            question, answer = self._waiting[0]
            if answer.done():
                self._waiting.popleft()
                continue
            size += self._size_of(question)
            if batch and size > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch
