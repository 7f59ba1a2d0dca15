"""How a call has ended, as the service says it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import grpc

T = TypeVar("T")

OWN_DETAILS: Final = "Internal error from Core"
STATUS_SECONDS: Final = 1.0
"""For how long the service's status is awaited where the library has put its own in its place."""


class Ending:
    """Keeps the status that came from the service.

    grpc.aio puts INTERNAL in its place where the service ends a call while something is being
    sent. Source: grpc/grpc#36066.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._told: grpc.aio.AioRpcError | None = None
        self._has_come = asyncio.Event()
        call.add_done_callback(self._note)

    async def reason(self, failure: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError:
        """What the service says; the failure itself where it says nothing."""
        if failure.details() != OWN_DETAILS:
            return failure
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_SECONDS):
                await self._has_come.wait()
        return self._told or failure

    def _note(self, call: Any) -> None:
        """Called at each status, before another one can take its place."""
        details = _at_once(call.details())
        if details == OWN_DETAILS:
            return
        self._told = grpc.aio.AioRpcError(
            _at_once(call.code()),
            grpc.aio.Metadata(),
            _at_once(call.trailing_metadata()),
            details,
        )
        self._has_come.set()


def _at_once(known: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        known.send(None)
    except StopIteration as end:
        return end.value
    known.close()
    raise RuntimeError("a call that is done has no status")
