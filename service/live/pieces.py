"""The media messages of one stream, checked, as pieces."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.live import (
    ContainerBytes,
    ContainerMedia,
    FrameEncoding,
    FrameMedia,
    LiveFrame,
    LiveMedia,
    LivePiece,
    LiveSound,
    SoundFormat,
)
from service.domain.signatures import CROP_SIDE
from service.errors import ClipTooLong, RequestInvalid, StreamOutOfOrder
from service.settings import Settings

CROP_BYTES: Final = 3 * CROP_SIDE * CROP_SIDE
SOUND_BEYOND_SECONDS: Final = 60.0
"""Sound may go on so long after the last frame that a stream may have."""
MAX_SECONDS: Final = 1e9
"""A time beyond this is no presentation time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How much of each kind of media a stream has brought. audio_samples: of one channel."""

    container_bytes: int = 0
    frames: int = 0
    audio_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The times of the first and the latest frame that a stream has brought."""

    first_seconds: float | None = None
    last_seconds: float = -math.inf


class PieceReader:
    """Turns requests after the first into pieces, and counts them."""

    def __init__(
        self,
        media: LiveMedia,
        settings: Settings,
        start: Position | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Args: start, clock: where a resumed stream goes on."""
        self._media = media
        self._max_frames = settings.max_clip_frames
        self._max_seconds = settings.max_clip_seconds
        self._max_bytes = settings.max_upload_bytes
        self.clock = clock or Clock()
        self.position = start or Position()

    def read(self, request: wire.StreamingAnnotateRequest) -> LivePiece:
        """The next piece.

        Raises: StreamOutOfOrder, RequestInvalid, ClipTooLong.
        """
        kind = request.WhichOneof("message")
        match kind, self._media:
            case "container", ContainerMedia():
                return self._read_bytes(request.container)
            case "frame", FrameMedia(encoding=encoding):
                return self._read_frame(request.frame, encoding)
            case "audio", FrameMedia(sound=sound) if sound is not None:
                return self._read_sound(request.audio, sound)
            case None, _:
                raise StreamOutOfOrder("an empty message")
            case _:
                raise StreamOutOfOrder(f"`{kind}` is not what the config announced")

    def _read_bytes(self, chunk: wire.ContainerChunk) -> ContainerBytes:
        received = self.position.container_bytes + len(chunk.data)
        if received > self._max_bytes:
            raise ClipTooLong("The stream has more bytes than this service accepts")
        self.position = replace(self.position, container_bytes=received)
        return ContainerBytes(data=chunk.data, arrived_at=time.monotonic())

    def _read_frame(self, frame: wire.VideoFrame, encoding: FrameEncoding) -> LiveFrame:
        seconds = frame.time_seconds
        if not math.isfinite(seconds) or abs(seconds) > MAX_SECONDS:
            raise RequestInvalid(f"a frame's time is {seconds}")
        if seconds <= self.clock.last_seconds:
            last = self.clock.last_seconds
            raise RequestInvalid(f"time {seconds:.6f} is not after {last:.6f}")
        self._check_length(seconds)
        self._check_size(len(frame.data), encoding)
        self.clock = replace(self.clock, last_seconds=seconds)
        self.position = replace(self.position, frames=self.position.frames + 1)
        return LiveFrame(time_seconds=seconds, data=frame.data, arrived_at=time.monotonic())

    def _check_length(self, seconds: float) -> None:
        first = self.clock.first_seconds
        if first is None:
            first = seconds
            self.clock = replace(self.clock, first_seconds=first)
        is_too_long = seconds - first > self._max_seconds
        if is_too_long or self.position.frames >= self._max_frames:
            raise ClipTooLong("The stream lasts longer than this service accepts")

    def _check_size(self, size: int, encoding: FrameEncoding) -> None:
        if encoding is FrameEncoding.FACE_CROP:
            if size not in (0, CROP_BYTES):
                raise RequestInvalid(f"a crop has {CROP_BYTES} bytes or none, not {size}")
        elif encoding is FrameEncoding.RGB24 and isinstance(self._media, FrameMedia):
            needed = 3 * self._media.width * self._media.height
            if size != needed:
                raise RequestInvalid(f"a frame has {needed} bytes, not {size}")

    def _read_sound(self, chunk: wire.AudioChunk, sound: SoundFormat) -> LiveSound:
        samples, rest = divmod(len(chunk.data), sound.frame_bytes)
        if rest:
            raise RequestInvalid("audio that ends within a sample")
        at = chunk.time_seconds if chunk.HasField("time_seconds") else None
        if at is not None and (not math.isfinite(at) or abs(at) > MAX_SECONDS):
            raise RequestInvalid(f"audio at {at} seconds")
        received = self.position.audio_samples + samples
        if received > (self._max_seconds + SOUND_BEYOND_SECONDS) * sound.rate_hz:
            raise ClipTooLong("The stream has more sound than this service accepts")
        self.position = replace(self.position, audio_samples=received)
        return LiveSound(data=chunk.data, time_seconds=at)
