"""Streams that decode nothing, for tests of the doors to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.errors import CircumplexError, GatewayDraining

TOKEN_TEMPLATE = "token-of-{}"


class FakeStreams:
    """Answers each frame with a final result at once. What it was brought can be looked at.

    fails: raised at the first frame. held: nothing is taken while it is cleared.
    result_letters: how long resume tokens are.
    """

    def __init__(self, error: Exception | None = None, token_chars: int = 0) -> None:
        self.requests: list[wire.StreamingAnnotateRequest] = []
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
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        self.callers.append(caller)
        try:
            self.requests.append(await anext(requests))
            self.has_begun.set()
            yield wire.StreamingAnnotateResponse(config_ack=wire.ConfigAck(stream_id="pretended"))
            while (request := await self._read_request(requests)) is not None:
                self.requests.append(request)
                if self._error is not None:
                    raise self._error
                yield self._make_result()
            if self._is_draining.is_set():
                draining = wire.Draining(resume_token=TOKEN_TEMPLATE.format(self.result_count - 1))
                yield wire.StreamingAnnotateResponse(draining=draining)
                raise GatewayDraining
            yield wire.StreamingAnnotateResponse(
                summary=wire.StreamSummary(frames=self.result_count)
            )
        finally:
            self.has_ended.set()

    def drain(self) -> None:
        self._is_draining.set()

    async def _read_request(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> wire.StreamingAnnotateRequest | None:
        await self.reading_allowed.wait()
        taking = asyncio.ensure_future(anext(requests, None))
        stopping = asyncio.create_task(self._is_draining.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._is_draining.is_set() else taking.result()
        finally:
            stopping.cancel()
            taking.cancel()

    def _make_result(self) -> wire.StreamingAnnotateResponse:
        token = TOKEN_TEMPLATE.format(self.result_count) + self._padding
        result = wire.FrameResult(index=self.result_count, is_final=True, resume_token=token)
        self.result_count += 1
        return wire.StreamingAnnotateResponse(frame_result=result)


def make_error(error: type[CircumplexError]) -> CircumplexError:
    return error("as it was pretended")
