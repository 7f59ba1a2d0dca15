"""From the client to the decode child: requests in, pieces out, in step with what is answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass

from circumplex.v1 import annotation_pb2 as wire

from service.domain.live import LiveFrame
from service.domain.ports import LiveExtraction
from service.errors import StreamIdle
from service.live.credits import Credits
from service.live.intake import Intake
from service.live.pieces import PieceReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """The way in of one stream."""

    reader: PieceReader
    intake: Intake
    extraction: LiveExtraction
    credits: Credits
    idle_seconds: float
    gone: Container[int]
    """Frames that were told to be dropped before the stream broke off: they stay so."""
    sent: deque[tuple[int, float]]
    """Of the frames that the child has and nobody has seen: place in the stream, and time."""

    async def pump(self, requests: AsyncIterator[wire.StreamingAnnotateRequest]) -> None:
        """Let requests in until they end.

        Raises: StreamIdle, StreamOverrun; whatever is wrong with a request.
        """
        while True:
            try:
                async with asyncio.timeout(self.idle_seconds):
                    request = await anext(requests, None)
            except TimeoutError as error:
                raise StreamIdle() from error
            if request is None:
                break
            index = self.reader.position.frames
            piece = self.reader.read(request)
            if not (isinstance(piece, LiveFrame) and index in self.gone):
                await self.intake.put(piece, index, self.reader.position)
        self.intake.end()

    async def feed(self) -> None:
        """Hand the pieces to the child, as many frames at a time as may be under way."""
        while True:
            await self.credits.wait()
            waiting = await self.intake.take()
            if waiting is None:
                break
            if isinstance(waiting.piece, LiveFrame):
                self.credits.take()
                self.sent.append((waiting.index, waiting.piece.time_seconds))
            await self.extraction.send(waiting.piece)
        await self.extraction.end()
