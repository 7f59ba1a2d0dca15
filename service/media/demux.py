"""Opens a clip with allow-listed demuxers and protocols only, and refuses what cannot be a clip.

FFmpeg opens other files and hosts from inside a file (playlists, concatenations, data
references), so neither those demuxers nor any protocol but `file` is ever reachable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from service.domain.clip import MediaFacts
from service.errors import (
    ClipNotMedia,
    ClipTooLong,
    ClipTooManyPixels,
    ClipTruncated,
    ClipWithoutFrames,
    ClipWithoutVideo,
)
from service.media.display import display_size, rotation_of
from service.media.layout import lacks_index

VIDEO_FORMATS: Final = ("mov", "matroska", "mpegts", "avi", "flv", "mpeg", "asf", "ogg")
SOUND_FORMATS: Final = ("wav", "mp3", "flac", "aac")
"""Accepted only so that a sound file is refused for what it is."""

_OPTIONS: Final = {
    "format_whitelist": ",".join(VIDEO_FORMATS + SOUND_FORMATS),
    "protocol_whitelist": "file",
    "enable_drefs": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLimits:
    """What is refused: longer, with more frames, or with more pixels a frame."""

    max_seconds: float
    max_frames: int
    max_pixels: int


@contextlib.contextmanager
def open_container(clip: Path) -> Generator[InputContainer]:
    """Open a file as one of the allowed containers.

    Raises: ClipNotMedia, ClipTruncated.
    """
    try:
        container = av.open(f"file:{clip}", container_options=_OPTIONS)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise ClipTruncated() if lacks_index(clip) else ClipNotMedia() from error
    with container:
        yield container


def choose_video(container: InputContainer, clip: Path) -> VideoStream:
    """The first video stream, as tools count that take a file's video 0; a cover picture is none.

    Streams that have no decoder, or none of whose pictures was found, come last.

    Raises: ClipWithoutVideo, ClipTruncated, ClipWithoutFrames: no decoder for its codec.
    """
    moving = _moving(container)
    if not moving:
        raise ClipTruncated() if _is_empty(container, clip) else ClipWithoutVideo()
    stream = next(filter(_can_be_read, moving), None)
    if stream is None:
        raise ClipTruncated() if lacks_index(clip) else ClipWithoutFrames()
    return stream


def _moving(container: InputContainer) -> list[VideoStream]:
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _can_be_read(stream: VideoStream) -> bool:
    return bool(stream.codec_context and stream.width)


def _is_empty(container: InputContainer, clip: Path) -> bool:
    return not container.streams.audio and lacks_index(clip)


def check_limits(container: InputContainer, stream: VideoStream, limits: ClipLimits) -> None:
    """Refuse by what the container declares, before a frame is decoded.

    Raises: ClipTooLong, ClipTooManyPixels.
    """
    coded = stream.codec_context.coded_width * stream.codec_context.coded_height
    width, height = display_size(stream.width, stream.height, stream.sample_aspect_ratio)
    if max(coded, stream.width * stream.height, width * height) > limits.max_pixels:
        raise ClipTooManyPixels()
    if (declared_seconds(container, stream) or 0.0) > limits.max_seconds:
        raise ClipTooLong()
    if stream.frames > limits.max_frames:
        raise ClipTooLong()


def declared_seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the container says the pictures last; None where it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tagged = _parse_clock(stream.metadata.get("DURATION", ""))
    if tagged is not None:
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        return max(tagged - start, 0.0)
    return None if container.duration is None else container.duration / av.time_base


def read_facts(container: InputContainer, stream: VideoStream, rotation: int) -> MediaFacts:
    """What the container says of the clip; `rotation` is the first frame's, degrees."""
    width, height = display_size(stream.width, stream.height, stream.sample_aspect_ratio)
    if rotation_of(rotation) % 2:
        width, height = height, width
    rate: Fraction | None = stream.average_rate
    seconds = declared_seconds(container, stream)
    expected = round(seconds * rate) if seconds and rate else None
    sound = best_sound(container)
    codec = sound.codec_context if sound is not None else None
    return MediaFacts(
        container=container.format.name,
        video_streams=len(_moving(container)),
        video_stream_index=stream.index,
        video_codec=stream.codec_context.codec.canonical_name,
        width=width,
        height=height,
        rotation_degrees=rotation_of(rotation) * 90,
        average_rate_hz=float(rate) if rate else None,
        duration_seconds=seconds,
        frames_estimate=stream.frames or expected,
        audio_codec=codec.codec.canonical_name if codec else None,
        audio_rate_hz=codec.sample_rate if codec else None,
        audio_channels=codec.channels if codec else None,
    )


def best_sound(container: InputContainer) -> AudioStream | None:
    """The sound stream that is heard: FFmpeg's choice, by disposition, then by bit rate."""
    stream = container.streams.best("audio")
    return stream if isinstance(stream, AudioStream) else None


def _parse_clock(text: str) -> float | None:
    """Matroska's DURATION tag, `HH:MM:SS.fraction`, in seconds."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return 3600 * hours + 60 * minutes + seconds
