"""Every frame of a clip, once, in presentation order, with its own time.

A damaged packet is counted and skipped; the frames around it stay. A frame's time is its
presentation timestamp, edit lists applied by the demuxer, no start subtracted: what ffprobe
lists as `pts_time`. Never index divided by rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.arrays import Bytes
from service.domain.clip import Flag
from service.errors import ClipTooLong, ClipTooManyPixels, ClipWithoutFrames
from service.media.demux import ClipLimits, declared_seconds
from service.media.display import display_size, show

MOST_BAD_READS: Final = 1000
"""Failing reads in a row after which the rest of a damaged file is given up."""
SHORTFALL_SECONDS: Final = 0.5
"""A clip whose frames end so much before their declared end was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One decoded frame as displayed.

    pixels: (H, W, 3) uint8 RGB, upright, square pixels.
    busy_seconds: what decoding and converting it took.
    """

    time_seconds: float
    pixels: Bytes
    rotation_degrees: int
    busy_seconds: float


class VideoReader:
    """Decodes one video stream from its first packet to its last."""

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, limits: ClipLimits, threads: int
    ) -> None:
        self._container = container
        self._stream = stream
        self._limits = limits
        self._aspect = stream.sample_aspect_ratio
        self._bad_packets = 0
        self._last_end = 0.0
        self._first_time: float | None = None
        context = stream.codec_context
        # Slices, not frames: a decoder that works on several frames at once drops good ones
        # when the last packet of a cut file fails during the final flush.
        context.thread_type = "SLICE"
        context.thread_count = threads
        # the decoder pads what it allocates; frames are held to the exact limit as they come
        context.options = {"max_pixels": str(2 * limits.max_pixels)}

    def read(self) -> Iterator[Picture]:
        """Yield every frame that can be decoded.

        Raises: ClipTooLong, ClipTooManyPixels, ClipWithoutFrames.
        """
        clock = _Clock(self._stream)
        began = time.perf_counter()
        count = 0
        for frame in self._frames():
            seconds = clock.read(frame)
            self._check(frame, seconds, count)
            self._bad_packets += frame.is_corrupt
            pixels = show(
                np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame.rotation, self._aspect
            )
            self._last_end = max(self._last_end, seconds + clock.step_seconds)
            busy = time.perf_counter() - began
            yield Picture(
                time_seconds=seconds,
                pixels=pixels,
                rotation_degrees=frame.rotation,
                busy_seconds=busy,
            )
            count += 1
            began = time.perf_counter()
        if not count:
            raise ClipWithoutFrames()

    def flags(self) -> set[Flag]:
        """What is known of the file once it has been read to its end."""
        flags = {Flag.DAMAGED} if self._bad_packets else set[Flag]()
        return flags | ({Flag.TRUNCATED} if self._ends_early() else set[Flag]())

    def _frames(self) -> Iterator[VideoFrame]:
        for packet in self._packets():
            try:
                yield from self._stream.decode(packet)
            except EndOfFile:
                return
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self._bad_packets += 1

    def _packets(self) -> Iterator[Packet]:
        """Packets to the end, past reads that fail; the last, empty one flushes the decoder."""
        failures = 0
        while failures < MOST_BAD_READS:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    self._bad_packets += packet.is_corrupt
                    yield packet
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self._bad_packets += 1
                failures += 1
            else:
                return
        yield Packet()

    def _check(self, frame: VideoFrame, seconds: float, count: int) -> None:
        if self._first_time is None:
            self._first_time = seconds
        if count >= self._limits.max_frames:
            raise ClipTooLong()
        if seconds - self._first_time > self._limits.max_seconds:
            raise ClipTooLong()
        width, height = display_size(frame.width, frame.height, self._aspect)
        if max(width * height, frame.width * frame.height) > self._limits.max_pixels:
            raise ClipTooManyPixels()

    def _ends_early(self) -> bool:
        declared = declared_seconds(self._container, self._stream)
        only_container = self._stream.duration is None and "DURATION" not in self._stream.metadata
        if declared is None or (only_container and self._container.streams.audio):
            return False
        begins = float((self._stream.start_time or 0) * (self._stream.time_base or 0))
        return begins + declared - self._last_end > SHORTFALL_SECONDS


class _Clock:
    """Times of frames in seconds; a frame without a timestamp follows the one before it."""

    def __init__(self, stream: VideoStream) -> None:
        rate = stream.guessed_rate or stream.average_rate or Fraction(25)
        self.step_seconds = float(1 / rate)
        self._base = stream.time_base or Fraction(1, av.time_base)
        self._next_seconds = float((stream.start_time or 0) * self._base)

    def read(self, frame: VideoFrame) -> float:
        """pts * time base; without pts: one frame of the guessed rate after the last frame."""
        seconds = self._next_seconds if frame.pts is None else float(frame.pts * self._base)
        self._next_seconds = seconds + self.step_seconds
        return seconds
