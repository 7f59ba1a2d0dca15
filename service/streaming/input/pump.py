"""From the client to the decode child: requests in, pieces out, in step with what is answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Container
from dataclasses import dataclass

from circumplex.v1 import annotation_pb2 as wire

from service.domain.ports import StreamExtraction
from service.domain.stream import StreamFrame
from service.errors import StreamIdle
from service.streaming.flow_control import FrameCredits
from service.streaming.input.input_queue import InputQueue
from service.streaming.input.media_reader import MediaReader


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPump:
    """The way in of one stream."""

    media_reader: MediaReader
    input_queue: InputQueue
    extraction: StreamExtraction
    credits: FrameCredits
    idle_seconds: float
    dropped_indices: Container[int]
    """Frames that were told to be dropped before the stream broke off: they stay so."""
    frames_in_decoder: deque[tuple[int, float]]
    """Of the frames that the child has and nobody has seen: place in the stream, and time."""

    async def receive(self, requests: AsyncIterator[wire.StreamingAnnotateRequest]) -> None:
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
            index = self.media_reader.position.frames
            piece = self.media_reader.read(request)
            if not (isinstance(piece, StreamFrame) and index in self.dropped_indices):
                await self.input_queue.put(piece, index, self.media_reader.position)
        self.input_queue.close()

    async def feed_decoder(self) -> None:
        """Hand the pieces to the child, as many frames at a time as may be under way."""
        while True:
            await self.credits.wait()
            waiting = await self.input_queue.take()
            if waiting is None:
                break
            if isinstance(waiting.media_input, StreamFrame):
                self.credits.acquire()
                self.frames_in_decoder.append((waiting.index, waiting.media_input.time_seconds))
            await self.extraction.send(waiting.media_input)
        await self.extraction.end()
