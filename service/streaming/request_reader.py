"""Reader of a stream's requests, with the time-outs of a silent client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from service.errors import StreamIdle
from service.settings import Settings
from service.streaming.config import StreamRequest, StreamSessionConfig


class RequestReader:
    """Reads requests within `stream_idle_seconds` each, once the stream has had a frame.

    Before that, at least `upload_min_bytes_per_second` of media have to come, measured over
    `stream_first_frame_seconds`: a stream that never sends any holds its place no longer. Only time
    spent waiting for the client ends a stream.
    """

    def __init__(
        self,
        requests: AsyncIterator[StreamRequest],
        settings: Settings,
        has_frames: Callable[[], bool],
    ) -> None:
        self._requests = requests
        self._idle_seconds = settings.stream_idle_seconds
        self._first_frame_seconds = settings.stream_first_frame_seconds
        self._min_bytes = settings.upload_min_bytes_per_second * self._first_frame_seconds
        self._has_frames = has_frames
        self._received_bytes = 0
        self._deadline = asyncio.get_running_loop().time() + self._first_frame_seconds

    async def read(self) -> StreamRequest | None:
        """Read the next request; None: the client has sent its last one. Raises: StreamIdle."""
        request = await (self._read_after if self._has_frames() else self._read_before)()
        if request is not None and not isinstance(request, StreamSessionConfig):
            self._received_bytes += len(request.data)
        return request

    async def _read_after(self) -> StreamRequest | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(self._requests, None)
        except TimeoutError as error:
            raise StreamIdle() from error

    async def _read_before(self) -> StreamRequest | None:
        """Read a request before the first frame, which may be decoded meanwhile."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        reading = asyncio.ensure_future(anext(self._requests, None))
        try:
            while True:
                deadline = started + self._idle_seconds
                if not self._has_frames():
                    deadline = min(deadline, self._deadline)
                done, _ = await asyncio.wait({reading}, timeout=max(deadline - loop.time(), 0.0))
                if done:
                    return reading.result()
                self._check(loop.time(), started)
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await reading

    def _check(self, now: float, started: float) -> None:
        """Check the deadlines that have passed. Raises: StreamIdle."""
        if now >= started + self._idle_seconds:
            raise StreamIdle()
        if self._has_frames():
            return
        if self._received_bytes < self._min_bytes:
            raise StreamIdle(f"no frame came within {self._first_frame_seconds:g} s")
        self._received_bytes = 0
        self._deadline = now + self._first_frame_seconds
