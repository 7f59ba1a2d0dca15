"""The media messages of one stream, checked, as pieces."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.model_signatures import CROP_SIDE
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
from service.errors import ClipTooLong, RequestInvalid, StreamOutOfOrder
from service.settings import Settings

CROP_BYTES: Final = 3 * CROP_SIDE * CROP_SIDE
MAX_TRAILING_AUDIO_SECONDS: Final = 60.0
"""Sound may go on so long after the last frame that a stream may have."""
MAX_SECONDS: Final = 1e9
"""A time beyond this is no presentation time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPosition:
    """How much of each kind of media a stream has brought. audio_samples: of one channel."""

    container_bytes: int = 0
    frames: int = 0
    audio_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameTimeRange:
    """The times of the first and the latest frame that a stream has brought."""

    first_seconds: float | None = None
    last_seconds: float = -math.inf


class MediaReader:
    """Turns requests after the first into pieces, and counts them."""

    def __init__(
        self,
        media: StreamMedia,
        settings: Settings,
        start_position: MediaPosition | None = None,
        time_range: FrameTimeRange | None = None,
    ) -> None:
        """Args: start, clock: where a resumed stream goes on."""
        self._media = media
        self._max_frames = settings.max_clip_frames
        self._max_seconds = settings.max_clip_seconds
        self._max_bytes = settings.max_upload_bytes
        self.time_range = time_range or FrameTimeRange()
        self.position = start_position or MediaPosition()

    def read(self, request: wire.StreamingAnnotateRequest) -> StreamInput:
        """The next piece.

        Raises: StreamOutOfOrder, RequestInvalid, ClipTooLong.
        """
        kind = request.WhichOneof("message")
        match kind, self._media:
            case "container", ContainerStreamMedia():
                return self._read_container_chunk(request.container)
            case "frame", FrameStreamMedia(encoding=encoding):
                return self._read_frame(request.frame, encoding)
            case "audio", FrameStreamMedia(sound=sound) if sound is not None:
                return self._read_audio(request.audio, sound)
            case None, _:
                raise StreamOutOfOrder("an empty message")
            case _:
                raise StreamOutOfOrder(f"`{kind}` is not what the config announced")

    def _read_container_chunk(self, chunk: wire.ContainerChunk) -> StreamBytes:
        received = self.position.container_bytes + len(chunk.data)
        if received > self._max_bytes:
            raise ClipTooLong("The stream has more bytes than this service accepts")
        self.position = replace(self.position, container_bytes=received)
        return StreamBytes(data=chunk.data, arrived_at=time.monotonic())

    def _read_frame(self, frame: wire.VideoFrame, encoding: FrameEncoding) -> StreamFrame:
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
        return StreamFrame(time_seconds=seconds, data=frame.data, arrived_at=time.monotonic())

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

    def _read_audio(self, chunk: wire.AudioChunk, audio_format: AudioFormat) -> StreamAudio:
        samples, rest = divmod(len(chunk.data), audio_format.frame_bytes)
        if rest:
            raise RequestInvalid("audio that ends within a sample")
        at = chunk.time_seconds if chunk.HasField("time_seconds") else None
        if at is not None and (not math.isfinite(at) or abs(at) > MAX_SECONDS):
            raise RequestInvalid(f"audio at {at} seconds")
        received = self.position.audio_samples + samples
        if received > (self._max_seconds + MAX_TRAILING_AUDIO_SECONDS) * audio_format.rate_hz:
            raise ClipTooLong("The stream has more sound than this service accepts")
        self.position = replace(self.position, audio_samples=received)
        return StreamAudio(data=chunk.data, time_seconds=at)
