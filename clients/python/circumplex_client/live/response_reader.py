"""What a call brings, up to its end and why it has ended, as the service says it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

import grpc

from circumplex_client.v1 import annotation_pb2 as pb

T = TypeVar("T")

LIBRARY_ERROR_DETAILS: Final = "Internal error from Core"
STATUS_TIMEOUT_SECONDS: Final = 1.0
"""For how long the service's status is awaited where the library has put its own in its place."""
STATUS_POLL_SECONDS: Final = 0.01


class ResponseReader:
    """Reads them all, and keeps the status that came from the service.

    grpc.aio puts INTERNAL in its place where the service ends a call while something is being
    sent: after the service's, which the callback has heard of then, or before it, which comes
    once everything has been read. `call.read()` reads nothing more then; iterating does.
    Source: grpc/grpc#36066.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call
        self._iterator: AsyncIterator[Any] = aiter(call)
        self._service_error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._record_status)

    async def read(self) -> pb.StreamingAnnotateResponse | None:
        """The next one; None at the end of a call that has gone well.

        Raises: grpc.aio.AioRpcError: it has not, for the service's reason where there is one.
        """
        try:
            return await anext(self._iterator)
        except StopAsyncIteration:
            return None
        except grpc.aio.AioRpcError as failure:
            if failure.details() != LIBRARY_ERROR_DETAILS:
                raise
            raise await self._await_service_error() or failure from None

    async def _await_service_error(self) -> grpc.aio.AioRpcError | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(STATUS_TIMEOUT_SECONDS):
                while self._service_error is None:
                    await asyncio.sleep(STATUS_POLL_SECONDS)
                    self._record_status(self._call)
        return self._service_error

    def _record_status(self, call: Any) -> None:
        """Remember the status of a call that is done, unless it is the library's own."""
        details = _run_completed(call.details())
        if details == LIBRARY_ERROR_DETAILS:
            return
        self._service_error = grpc.aio.AioRpcError(
            _run_completed(call.code()),
            grpc.aio.Metadata(),
            _run_completed(call.trailing_metadata()),
            details,
        )


def _run_completed(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("a call that is done has no status")
