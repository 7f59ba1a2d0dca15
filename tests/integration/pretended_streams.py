"""Streams that decode nothing, for tests of the doors to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from circumplex.v1 import annotation_pb2 as wire

from service.domain.caller import Caller
from service.errors import CircumplexError, GatewayDraining

TOKEN = "token-of-{}"


class PretendedStreams:
    """Answers each frame with a final result at once. What it was brought can be looked at.

    fails: raised at the first frame. held: nothing is taken while it is cleared.
    result_letters: how long resume tokens are.
    """

    def __init__(self, fails: Exception | None = None, result_letters: int = 0) -> None:
        self.requests: list[wire.StreamingAnnotateRequest] = []
        self.callers: list[Caller] = []
        self.sent = 0
        self.has_begun = asyncio.Event()
        self.has_ended = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()
        self._fails = fails
        self._filling = "x" * result_letters
        self._is_draining = asyncio.Event()

    async def annotate(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest], caller: Caller
    ) -> AsyncGenerator[wire.StreamingAnnotateResponse]:
        self.callers.append(caller)
        try:
            self.requests.append(await anext(requests))
            self.has_begun.set()
            yield wire.StreamingAnnotateResponse(config_ack=wire.ConfigAck(stream_id="pretended"))
            while (request := await self._next(requests)) is not None:
                self.requests.append(request)
                if self._fails is not None:
                    raise self._fails
                yield self._result()
            if self._is_draining.is_set():
                draining = wire.Draining(resume_token=TOKEN.format(self.sent - 1))
                yield wire.StreamingAnnotateResponse(draining=draining)
                raise GatewayDraining
            yield wire.StreamingAnnotateResponse(summary=wire.StreamSummary(frames=self.sent))
        finally:
            self.has_ended.set()

    def drain(self) -> None:
        self._is_draining.set()

    async def _next(
        self, requests: AsyncIterator[wire.StreamingAnnotateRequest]
    ) -> wire.StreamingAnnotateRequest | None:
        await self.held.wait()
        taking = asyncio.ensure_future(anext(requests, None))
        stopping = asyncio.create_task(self._is_draining.wait())
        try:
            await asyncio.wait({taking, stopping}, return_when=asyncio.FIRST_COMPLETED)
            return None if self._is_draining.is_set() else taking.result()
        finally:
            stopping.cancel()
            taking.cancel()

    def _result(self) -> wire.StreamingAnnotateResponse:
        token = TOKEN.format(self.sent) + self._filling
        result = wire.FrameResult(index=self.sent, is_final=True, resume_token=token)
        self.sent += 1
        return wire.StreamingAnnotateResponse(frame_result=result)


def raised(error: type[CircumplexError]) -> CircumplexError:
    return error("as it was pretended")
