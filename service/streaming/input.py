"""Input of one stream: media are checked, counted, and queued for the decode process.

requests ─▶ MediaReader ─▶ InputQueue (overload policy) ─▶ credits ─▶ decode process
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Final

from service.domain.model_signatures import CROP_BYTES
from service.domain.ports import StreamExtraction
from service.domain.stream import (
    AudioFormat,
    ContainerStreamMedia,
    FrameEncoding,
    FrameStreamMedia,
    StreamAudio,
    StreamBytes,
    StreamFrame,
    StreamInput,
    StreamMedia,
)
from service.errors import ClipTooLong, RequestInvalid, StreamOutOfOrder, StreamOverrun
from service.settings import Settings
from service.streaming.config import OverloadPolicy, StreamRequest, StreamSessionConfig
from service.streaming.events import MediaPosition
from service.streaming.flow_control import FrameCredits
from service.streaming.request_reader import RequestReader

MAX_TRAILING_AUDIO_SECONDS: Final = 60.0
"""Audio allowed beyond the longest duration of the frames."""
MAX_SECONDS: Final = 1e9
"""Bound of presentation times, positive and negative."""
_REQUEST_NAMES: Final = {
    StreamSessionConfig: "config",
    StreamBytes: "container",
    StreamFrame: "frame",
    StreamAudio: "audio",
}
"""Names in the public contract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTimeRange:
    """Times of the first and the latest frame that a stream has received."""

    first_seconds: float | None = None
    last_seconds: float = -math.inf


class MediaReader:
    """Checks the requests after the first, and counts the media in them."""

    def __init__(
        self,
        media: StreamMedia,
        settings: Settings,
        start_position: MediaPosition | None = None,
        time_range: FrameTimeRange | None = None,
    ) -> None:
        """Start at the beginning, or where a resumed stream continues.

        Args: start_position, time_range: of a resumed stream; None: a new stream.
        """
        self._media = media
        self._max_frames = settings.max_clip_frames
        self._max_seconds = settings.max_clip_seconds
        self._max_bytes = settings.max_upload_bytes
        self.time_range = time_range or FrameTimeRange()
        self.position = start_position or MediaPosition()

    def read(self, request: StreamRequest) -> StreamInput:
        """Return the media of a request and count them.

        Raises: StreamOutOfOrder, RequestInvalid, ClipTooLong.
        """
        match request, self._media:
            case StreamBytes(), ContainerStreamMedia():
                self._count_bytes(request)
                return request
            case StreamFrame(), FrameStreamMedia(encoding=encoding):
                self._count_frame(request, encoding)
                return request
            case StreamAudio(), FrameStreamMedia(audio=audio_format) if audio_format is not None:
                self._count_audio(request, audio_format)
                return request
            case _:
                name = _REQUEST_NAMES[type(request)]
                raise StreamOutOfOrder(f"`{name}` is not what the config announced")

    def _count_bytes(self, chunk: StreamBytes) -> None:
        received = self.position.container_bytes + len(chunk.data)
        if received > self._max_bytes:
            raise ClipTooLong("The stream has more bytes than this service accepts")
        self.position = replace(self.position, container_bytes=received)

    def _count_frame(self, frame: StreamFrame, encoding: FrameEncoding) -> None:
        seconds = frame.time_seconds
        if not math.isfinite(seconds) or abs(seconds) > MAX_SECONDS:
            raise RequestInvalid(f"a frame's time is {seconds}")
        if seconds <= self.time_range.last_seconds:
            last = self.time_range.last_seconds
            raise RequestInvalid(f"time {seconds:.6f} is not after {last:.6f}")
        self._check_duration(seconds)
        self._check_size(len(frame.data), encoding)
        self.time_range = replace(self.time_range, last_seconds=seconds)
        self.position = replace(self.position, frames=self.position.frames + 1)

    def _check_duration(self, seconds: float) -> None:
        first = self.time_range.first_seconds
        if first is None:
            first = seconds
            self.time_range = replace(self.time_range, first_seconds=first)
        is_too_long = seconds - first > self._max_seconds
        if is_too_long or self.position.frames >= self._max_frames:
            raise ClipTooLong("The stream lasts longer than this service accepts")

    def _check_size(self, size: int, encoding: FrameEncoding) -> None:
        if encoding is FrameEncoding.FACE_CROP:
            if size not in (0, CROP_BYTES):
                raise RequestInvalid(f"a crop has {CROP_BYTES} bytes or none, not {size}")
        elif encoding is FrameEncoding.RGB24 and isinstance(self._media, FrameStreamMedia):
            needed = 3 * self._media.width * self._media.height
            if size != needed:
                raise RequestInvalid(f"a frame has {needed} bytes, not {size}")

    def _count_audio(self, chunk: StreamAudio, audio_format: AudioFormat) -> None:
        samples, rest = divmod(len(chunk.data), audio_format.frame_bytes)
        if rest:
            raise RequestInvalid("audio that ends within a sample")
        at = chunk.time_seconds
        if at is not None and (not math.isfinite(at) or abs(at) > MAX_SECONDS):
            raise RequestInvalid(f"audio at {at} seconds")
        received = self.position.audio_samples + samples
        if received > (self._max_seconds + MAX_TRAILING_AUDIO_SECONDS) * audio_format.rate_hz:
            raise ClipTooLong("The stream has more audio than this service accepts")
        self.position = replace(self.position, audio_samples=received)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedInput:
    """Media in the queue. index: of a frame, its place in the stream as it was sent."""

    media_input: StreamInput
    index: int


class InputQueue:
    """First-in-first-out queue for one producer and one consumer, bounded in frames and bytes."""

    def __init__(
        self,
        *,
        overload_policy: OverloadPolicy,
        max_frames: int,
        max_bytes: int,
        on_drop: Callable[[QueuedInput], None],
        known_position: MediaPosition,
    ) -> None:
        """Create a queue.

        Args: on_drop: called with each dropped frame. known_position: what a resumed stream had
            received before; until it is reached the policy is BLOCK.
        """
        self._overload_policy = overload_policy
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._on_drop = on_drop
        self._known_position = known_position
        self._is_catching_up = known_position != MediaPosition()
        self._items: deque[QueuedInput] = deque()
        self._frames = 0
        self._bytes = 0
        self._is_closed = False
        self._item_added = asyncio.Event()
        self._item_removed = asyncio.Event()

    async def put(self, media_input: StreamInput, index: int, position: MediaPosition) -> None:
        """Add media, applying the overload policy where the queue is full.

        Args: position: of the stream after these media.
        Raises: StreamOverrun.
        """
        self._is_catching_up = self._is_catching_up and not self._has_caught_up(position)
        overload = OverloadPolicy.BLOCK if self._is_catching_up else self._overload_policy
        while not self._has_capacity(media_input):
            if overload is OverloadPolicy.FAIL:
                raise StreamOverrun()
            if not (overload is OverloadPolicy.DROP_OLDEST and self._drop_oldest()):
                self._item_removed.clear()
                await self._item_removed.wait()
        self._items.append(QueuedInput(media_input=media_input, index=index))
        self._frames += isinstance(media_input, StreamFrame)
        self._bytes += len(media_input.data)
        self._item_added.set()

    def close(self) -> None:
        """Mark the end of the media."""
        self._is_closed = True
        self._item_added.set()

    async def take(self) -> QueuedInput | None:
        """Wait for the next media; None at their end."""
        while not self._items:
            if self._is_closed:
                return None
            self._item_added.clear()
            await self._item_added.wait()
        taken = self._items.popleft()
        self._frames -= isinstance(taken.media_input, StreamFrame)
        self._bytes -= len(taken.media_input.data)
        self._item_removed.set()
        return taken

    def _has_caught_up(self, position: MediaPosition) -> bool:
        """Return whether these media are new and the media buffered by the client have been taken.

        With DROP_OLDEST the frames that it buffered while disconnected are treated like any others.
        """
        known, at = self._known_position, position
        is_new = at.frames > known.frames or at.container_bytes > known.container_bytes
        return is_new and (self._overload_policy is OverloadPolicy.DROP_OLDEST or not self._items)

    def _has_capacity(self, media_input: StreamInput) -> bool:
        if not self._items:
            return True
        if isinstance(media_input, StreamFrame) and self._frames >= self._max_frames:
            return False
        return self._bytes + len(media_input.data) <= self._max_bytes

    def _drop_oldest(self) -> bool:
        """Drop the oldest frame, if there is one; audio is never dropped."""
        for place, each in enumerate(self._items):
            if isinstance(each.media_input, StreamFrame):
                del self._items[place]
                self._frames -= 1
                self._bytes -= len(each.media_input.data)
                self._on_drop(each)
                return True
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPump:
    """Moves media from the client into the queue, and from the queue to the decode process."""

    media_reader: MediaReader
    input_queue: InputQueue
    extraction: StreamExtraction
    credits: FrameCredits
    dropped_indices: Container[int]
    """Frames reported as dropped before the stream was resumed; they are not decoded."""
    frames_in_decoder: deque[tuple[int, float]]
    """Index in the stream and time of the frames that the decode process has not returned yet."""

    async def receive(self, requests: RequestReader) -> None:
        """Queue the media of all requests.

        Raises: StreamIdle, StreamOverrun; the errors of an invalid request.
        """
        while (request := await requests.read()) is not None:
            index = self.media_reader.position.frames
            piece = self.media_reader.read(request)
            if not (isinstance(piece, StreamFrame) and index in self.dropped_indices):
                await self.input_queue.put(piece, index, self.media_reader.position)
        self.input_queue.close()

    async def feed_decoder(self) -> None:
        """Send queued media to the decode process, within the credits for frames in flight."""
        while True:
            await self.credits.wait()
            queued = await self.input_queue.take()
            if queued is None:
                break
            if isinstance(queued.media_input, StreamFrame):
                self.credits.acquire()
                self.frames_in_decoder.append((queued.index, queued.media_input.time_seconds))
            await self.extraction.send(queued.media_input)
        await self.extraction.end()
