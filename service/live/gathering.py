"""Questions of many streams, asked together.

While one call is under way the next one fills. Among several streams a question also waits a
moment for the others': a lone crop costs as much as four.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Q = TypeVar("Q")
A = TypeVar("A")

LINGER_SECONDS: Final = 0.04
"""For no longer than this does a question wait for others: by then cameras of 25 fps have all
sent a frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked(Generic[Q, A]):
    question: Q
    answer: asyncio.Future[A]
    at: float
    """Monotonic seconds."""


class Gathering(Generic[Q, A]):
    """Asks one model. `streams` of them ask: where there is one, its questions go at once."""

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
        self.streams = 1
        self._waiting: deque[_Asked[Q, A]] = deque()
        self._is_complete = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer; raises what the call raised that held the question."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Asked(question=question, answer=answer, at=time.monotonic()))
        if len(self._waiting) >= self.streams:
            self._is_complete.set()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="gathering")
        return await answer

    async def _ask(self) -> None:
        try:
            while self._waiting:
                await self._linger()
                await self._answer(self._take())
        finally:
            self._asking = None

    async def _linger(self) -> None:
        """Until every stream has asked, or the first has waited long enough."""
        if len(self._waiting) >= self.streams:
            return
        self._is_complete.clear()
        left_seconds = self._waiting[0].at + LINGER_SECONDS - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_seconds):
                await self._is_complete.wait()

    async def _answer(self, batch: Sequence[_Asked[Q, A]]) -> None:
        if not batch:
            return
        try:
            answers = await self._call([each.question for each in batch])
        except Exception as error:
            for each in batch:
                if not each.answer.done():
                    each.answer.set_exception(error)
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)

    def _take(self) -> list[_Asked[Q, A]]:
        """The questions that wait, in order, as many as fit; those of who has left are let go."""
        batch: list[_Asked[Q, A]] = []
        size = 0
        while self._waiting:
            asked = self._waiting[0]
            if asked.answer.done():
                self._waiting.popleft()
                continue
            size += self._size_of(asked.question)
            if batch and size > self._most:
                break
            batch.append(self._waiting.popleft())
        return batch
