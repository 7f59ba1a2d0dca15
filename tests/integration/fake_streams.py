"""Stream services that decode nothing, for tests of the transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from service.domain.caller import Caller
from service.errors import CircumplexError, GatewayDraining
from service.streaming.config import StreamRequest
from service.streaming.events import (
    MediaPosition,
    SessionLimits,
    StreamCompleted,
    StreamDraining,
    StreamEvent,
    StreamOpened,
    StreamResult,
)
from tests.fake_estimators import make_manifest

TOKEN_TEMPLATE = "token-of-{}"


def make_opened(stream_id: str = "pretended") -> StreamOpened:
    limits = SessionLimits(
        message_bytes=0,
        frame_pixels=0,
        stream_seconds=0,
        buffered_results=0,
        waiting_frames=0,
        resume_seconds=0,
    )
    return StreamOpened(
        stream_id=stream_id,
        limits=limits,
        send_from=MediaPosition(),
        next_final_index=0,
        manifest=make_manifest(),
    )


class FakeStreams:
    """Returns a final result for each frame at once, and records the requests.

    error: raised at the first frame. token_chars: added length of resume tokens.
    reading_allowed: while it is cleared no request is taken.
    """

    def __init__(self, error: Exception | None = None, token_chars: int = 0) -> None:
        self.requests: list[StreamRequest] = []
        self.callers: list[Caller] = []
        self.result_count = 0
        self.has_begun = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.reading_allowed = asyncio.Event()
        self.reading_allowed.set()
        self._error = error
        self._padding = "x" * token_chars
        self._is_draining = asyncio.Event()

    async def annotate(
        self, requests: AsyncIterator[StreamRequest], caller: Caller
    ) -> AsyncGenerator[StreamEvent]:
        self.callers.append(caller)
        try:
            self.requests.append(await anext(requests))
            self.has_begun.set()
            yield make_opened()
            while (request := await self._read_request(requests)) is not None:
                self.requests.append(request)
                if self._error is not None:
                    raise self._error
                yield self._make_result()
            if self._is_draining.is_set():
                yield StreamDraining(resume_token=TOKEN_TEMPLATE.format(self.result_count - 1))
                raise GatewayDraining
            yield StreamCompleted(frames=self.result_count)
        finally:
            self.has_ended.set()

    def drain(self) -> None:
        self._is_draining.set()

    async def _read_request(self, requests: AsyncIterator[StreamRequest]) -> StreamRequest | None:
        await self.reading_allowed.wait()
        reading = asyncio.ensure_future(anext(requests, None))
        draining = asyncio.create_task(self._is_draining.wait())
        try:
            await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._is_draining.is_set() else reading.result()
        finally:
            draining.cancel()
            reading.cancel()

    def _make_result(self) -> StreamResult:
        token = TOKEN_TEMPLATE.format(self.result_count) + self._padding
        result = StreamResult(
            index=self.result_count, time_seconds=0.0, is_final=True, resume_token=token
        )
        self.result_count += 1
        return result


def make_error(error: type[CircumplexError]) -> CircumplexError:
    return error("as it was pretended")
