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
class _PendingRequest(Generic[Q, A]):
    request: Q
    result: asyncio.Future[A]
    requested_at: float
    """Monotonic seconds."""


class MicroBatcher(Generic[Q, A]):
    """Asks one model. `streams` of them ask: where there is one, its questions go at once."""

    def __init__(
        self,
        call: Callable[[Sequence[Q]], Awaitable[Sequence[A]]],
        *,
        size_of: Callable[[Q], int],
        max_size: int,
    ) -> None:
        """Args: call: answers questions in order; most: the size of a call, unless one has more."""
        self._call = call
        self._size_of = size_of
        self._max_size = max_size
        self.active_streams = 1
        self._pending: deque[_PendingRequest[Q, A]] = deque()
        self._all_streams_waiting = asyncio.Event()
        self._batch_task: asyncio.Task[None] | None = None

    async def submit(self, request: Q) -> A:
        """The answer; raises what the call raised that held the question."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._pending.append(
            _PendingRequest(request=request, result=answer, requested_at=time.monotonic())
        )
        if len(self._pending) >= self.active_streams:
            self._all_streams_waiting.set()
        if self._batch_task is None:
            self._batch_task = asyncio.create_task(self._run_batches(), name="gathering")
        return await answer

    async def _run_batches(self) -> None:
        try:
            while self._pending:
                await self._linger()
                await self._run_batch(self._take_batch())
        finally:
            self._batch_task = None

    async def _linger(self) -> None:
        """Until every stream has asked, or the first has waited long enough."""
        if len(self._pending) >= self.active_streams:
            return
        self._all_streams_waiting.clear()
        left_seconds = self._pending[0].requested_at + LINGER_SECONDS - time.monotonic()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_seconds):
                await self._all_streams_waiting.wait()

    async def _run_batch(self, batch: Sequence[_PendingRequest[Q, A]]) -> None:
        if not batch:
            return
        try:
            answers = await self._call([each.request for each in batch])
        except Exception as error:
            for each in batch:
                if not each.result.done():
                    each.result.set_exception(error)
            return
        for each, answer in zip(batch, answers, strict=True):
            if not each.result.done():
                each.result.set_result(answer)

    def _take_batch(self) -> list[_PendingRequest[Q, A]]:
        """The questions that wait, in order, as many as fit; those of who has left are let go."""
        batch: list[_PendingRequest[Q, A]] = []
        size = 0
        while self._pending:
            asked = self._pending[0]
            if asked.result.done():
                self._pending.popleft()
                continue
            size += self._size_of(asked.request)
            if batch and size > self._max_size:
                break
            batch.append(self._pending.popleft())
        return batch
