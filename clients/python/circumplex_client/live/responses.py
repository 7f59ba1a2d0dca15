"""Reading of a call's responses, and removal of results that the caller already has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

import grpc

from circumplex_client.live.results import FrameResult, FramesDropped
from circumplex_client.v1 import annotation_pb2 as pb

T = TypeVar("T")

LIBRARY_ERROR_DETAILS: Final = "Internal error from Core"
STATUS_TIMEOUT_SECONDS: Final = 1.0
"""Timeout of the service's status where gRPC reports its own in its place."""
STATUS_POLL_SECONDS: Final = 0.01


class ResponseReader:
    """Reads responses and recovers the status that the service sent.

    grpc.aio replaces the status by INTERNAL when the service ends a call during a write: either
    after the service's status, which the done callback has recorded by then, or before it; it
    then arrives once all responses are read. `call.read()` stops reading in that state, iterating
    does not. Source: grpc/grpc#36066.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Any]) -> None:
        self._call = call
        self._iterator: AsyncIterator[Any] = aiter(call)
        self._service_error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._record_status)

    async def read(self) -> pb.StreamingAnnotateResponse | None:
        """Return the next response; None at the end of a successful call.

        Raises: grpc.aio.AioRpcError: the call failed; with the service's status if there is one.
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
        """Record the status of a finished call, unless gRPC replaced it by its own."""
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
    """Return the result of a coroutine that does not have to wait."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise RuntimeError("a finished call has no status")


class DeliveryLog:
    """Passes each result once; `resume_token` is the last final result's, empty before it."""

    def __init__(self) -> None:
        self.resume_token = ""
        self._next_final = 0
        self._next_provisional = 0
        self._final_before_call = 0
        self._dropped_indices: set[int] = set()

    def start_call(self) -> None:
        """Begin a call: results before the next final frame are repetitions from here on."""
        self._final_before_call = self._next_final
        self._dropped_indices = {
            index for index in self._dropped_indices if index >= self._final_before_call
        }

    def accept_frame(self, message: pb.FrameResult) -> FrameResult | None:
        """Return the result, None if the caller has it or the frame's final result."""
        if message.index < self._next_final:
            return None
        if message.is_final:
            # Empty while the service cannot store the stream's state.
            self.resume_token = message.resume_token or self.resume_token
            self._next_final = message.index + 1
        elif message.index < self._next_provisional:
            return None
        else:
            self._next_provisional = message.index + 1
        return FrameResult.from_proto(message)

    def accept_dropped(self, message: pb.FramesDropped) -> FramesDropped | None:
        """Return the part of the drop that the caller has not received yet, or None."""
        announced = range(message.first_index, message.first_index + message.count)
        new = [
            index
            for index in announced
            if index >= self._final_before_call and index not in self._dropped_indices
        ]
        if not new:
            return None
        self._dropped_indices.update(new)
        return replace(FramesDropped.from_proto(message), first_index=new[0], count=len(new))
