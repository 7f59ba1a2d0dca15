"""Video of a clip: every frame once, in presentation order, with its own time.

Damaged packets are counted and skipped. A frame's time is its best presentation timestamp, edit
lists applied by the demuxer, no start subtracted: FFmpeg's `pts_time`. Never index divided by
rate.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.media import Anomalies, Flag
from service.domain.planar_picture import PlanarPicture
from service.errors import ClipError, ClipTooLong, ClipTooManyPixels, ClipWithoutFrames
from service.media.conversion import PictureConverter
from service.media.demux import StreamDecoder
from service.media.frame_format import (
    FrameFormat,
    compute_display_size,
    is_bottom_field_first,
    read_aspect,
    read_frame_format,
)
from service.media.frame_times import FrameClock
from service.media.media_info import (
    ClipLimits,
    declares_file_duration,
    read_duration_seconds,
    read_start_seconds,
)
from service.media.orientation import OrientationReader

TRUNCATION_SECONDS: Final = 0.5
"""A clip whose frames end this long before their declared end counts as truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One decoded frame as displayed.

    planes: its samples; they keep the decoder's frame.
    frame_format: as decoded; the same object for all frames of the same format.
    busy_seconds: time spent on decoding and conversion.
    """

    time_seconds: float
    planes: PlanarPicture
    frame_format: FrameFormat
    busy_seconds: float


@dataclass(slots=True)
class _Counts:
    """Frames and anomalies so far."""

    frames: int = 0
    failed_conversions: int = 0
    corrupt_frames: int = 0
    interlaced_frames: int = 0
    size_changes: int = 0
    tone_mapped: bool = False


class VideoReader:
    """Decodes one video stream from its first packet to its last."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        *,
        limits: ClipLimits,
        threads: int,
        is_truncated: bool = False,
    ) -> None:
        """Read a stream of a container that has no other reader."""
        self._container = container
        self._stream = stream
        self._limits = limits
        self._is_truncated = is_truncated
        self._container_aspect = read_aspect(stream)
        self._decoder = StreamDecoder(container, stream)
        self._converter = PictureConverter(threads=threads)
        self._orientations = OrientationReader()
        self._clock = FrameClock(stream)
        self._counts = _Counts()
        self._frame_format: FrameFormat | None = None
        self._last_end = 0.0
        self._first_time: float | None = None
        context = stream.codec_context
        # Slice threads, not frame threads: those lose good frames when the last packet of a
        # truncated file fails during the final flush.
        context.thread_type = "SLICE"
        context.thread_count = threads
        # decoders allocate padded pictures; the exact limit is checked on each frame
        context.options = {"max_pixels": str(2 * limits.max_pixels)}

    def read(self) -> Iterator[Picture]:
        """Yield every frame that can be decoded.

        Raises: ClipTooLong, ClipTooManyPixels, ClipWithoutFrames.
        """
        began = time.perf_counter()
        for frame in self._decoder:
            frame_format = self._record_format(frame)
            self._check_size(frame_format)
            planes = self._convert(frame, frame_format)
            if planes is None:
                continue
            seconds = self._clock.read(frame)
            self._check_time(seconds)
            self._counts.frames += 1
            busy = time.perf_counter() - began
            yield Picture(
                time_seconds=seconds, planes=planes, frame_format=frame_format, busy_seconds=busy
            )
            began = time.perf_counter()
        if not self._counts.frames:
            raise self._make_no_frames_error()

    def flags(self) -> set[Flag]:
        """Flags of the video; complete once it has been read to its end."""
        counts, times = self._counts, self._clock.anomalies()
        irregular_times = times.times_inferred + times.times_repeated + times.times_backward
        found = {
            Flag.DAMAGED: self._bad_packets + counts.corrupt_frames,
            Flag.TRUNCATED: self._is_truncated or self._ends_early(),
            Flag.TIMES_IRREGULAR: irregular_times,
            Flag.INTERLACED: counts.interlaced_frames,
            Flag.TONE_MAPPED: counts.tone_mapped,
            Flag.SIZE_CHANGES: counts.size_changes,
        }
        return {flag for flag, is_set in found.items() if is_set}

    def anomalies(self) -> Anomalies:
        """Anomalies of the video so far; the audio's fields are left at their defaults."""
        return dataclasses.replace(
            self._clock.anomalies(),
            bad_packets=self._bad_packets,
            corrupt_frames=self._counts.corrupt_frames,
            interlaced_frames=self._counts.interlaced_frames,
            size_changes=self._counts.size_changes,
        )

    @property
    def _bad_packets(self) -> int:
        return self._decoder.bad_packets + self._counts.failed_conversions

    def _record_format(self, frame: VideoFrame) -> FrameFormat:
        """Count a frame's anomalies; returns its format."""
        frame_format = read_frame_format(
            frame, self._stream.codec_context, self._container_aspect, self._orientations
        )
        counts, before = self._counts, self._frame_format
        if before is not None:
            counts.size_changes += frame_format.shape != before.shape
            frame_format = before if frame_format == before else frame_format
        counts.corrupt_frames += frame.is_corrupt
        counts.interlaced_frames += frame.interlaced_frame
        counts.tone_mapped |= frame_format.colours.hdr is not None
        self._frame_format = frame_format
        return frame_format

    def _convert(self, frame: VideoFrame, frame_format: FrameFormat) -> PlanarPicture | None:
        """Convert a frame to a picture; None: its pixel format cannot be converted."""
        bottom_first = frame.interlaced_frame and is_bottom_field_first(self._stream.codec_context)
        try:
            return self._converter.convert(frame, frame_format, bottom_first=bottom_first)
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self._counts.failed_conversions += 1
            return None

    def _make_no_frames_error(self) -> ClipError:
        """Error for a clip without frames; a decoder that rejects a size then reports none."""
        has_failed = self._decoder.failed_packets or self._counts.failed_conversions
        is_too_large = has_failed and not self._stream.codec_context.width
        return ClipTooManyPixels() if is_too_large else ClipWithoutFrames()

    def _check_size(self, frame_format: FrameFormat) -> None:
        width, height = compute_display_size(
            frame_format.width, frame_format.height, frame_format.aspect, frame_format.orientation
        )
        if max(width * height, frame_format.width * frame_format.height) > self._limits.max_pixels:
            raise ClipTooManyPixels()

    def _check_time(self, seconds: float) -> None:
        if self._first_time is None:
            self._first_time = seconds
        if self._counts.frames >= self._limits.max_frames:
            raise ClipTooLong()
        if seconds - self._first_time > self._limits.max_seconds:
            raise ClipTooLong()
        self._last_end = max(self._last_end, seconds + self._clock.step_seconds)

    def _ends_early(self) -> bool:
        declared = read_duration_seconds(self._container, self._stream)
        is_of_file = declares_file_duration(self._container, self._stream)
        if declared is None or (is_of_file and self._container.streams.audio):
            return False
        begins = read_start_seconds(self._stream) or 0.0
        # a file's duration counts from its first frame, or from 0 though that comes later
        counts_from_zero = is_of_file and declared > begins
        end = declared if counts_from_zero else begins + declared
        return end - self._last_end > TRUNCATION_SECONDS
