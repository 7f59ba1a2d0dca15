"""What a call brings, up to its end and why it has ended, as the service says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import grpc

from circumplex_client.v1 import annotation_pb2 as pb

T = TypeVar("T")

OWN_DETAILS: Final = "Internal error from Core"
STATUS_SECONDS: Final = 1.0
"""For how long the service's status is awaited where the library has put its own in its place."""
LOOK_SECONDS: Final = 0.01


class Responses:
    """Reads them all, and keeps the status that came from the service.

    grpc.aio puts INTERNAL in its place where the service ends a call while something is being
    sent: after the service's, which the callback has heard of then, or before it, which comes
    once everything has been read. `call.read()` reads nothing more then; iterating does.
    Source: grpc/grpc#36066.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call
        self._left: AsyncIterator[Any] = aiter(call)
        self._told: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    async def next(self) -> pb.StreamingAnnotateResponse | None:
        """The next one; None at the end of a call that has gone well.

        Raises: grpc.aio.AioRpcError: it has not, for the service's reason where there is one.
        """
        try:
            return await anext(self._left)
        except StopAsyncIteration:
            return None
        except grpc.aio.AioRpcError as failure:
            if failure.details() != OWN_DETAILS:
                raise
            raise await self._reason() or failure from None

    async def _reason(self) -> grpc.aio.AioRpcError | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_SECONDS):
                while self._told is None:
                    await asyncio.sleep(LOOK_SECONDS)
                    self._note(self._call)
        return self._told

    def _note(self, call: Any) -> None:
        """Remember the status of a call that is done, unless it is the library's own."""
        details = _at_once(call.details())
        if details == OWN_DETAILS:
            return
        self._told = grpc.aio.AioRpcError(
            _at_once(call.code()),
            grpc.aio.Metadata(),
            _at_once(call.trailing_metadata()),
            details,
        )


def _at_once(known: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        known.send(None)
    except StopIteration as end:
        return end.value
    known.close()
    raise RuntimeError("a call that is done has no status")
