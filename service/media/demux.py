"""Opens a clip with allow-listed demuxers and decoders, and refuses what cannot be a clip.

FFmpeg opens other files and hosts from inside a file (playlists, concatenations, data
references), so neither those demuxers nor any protocol but the clip's own handle is reachable.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import av
import av.logging as libav_log
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from service.errors import (
    ClipNotMedia,
    ClipTooLong,
    ClipTooManyPixels,
    ClipTruncated,
)
from service.media.clip_handles import ClipSource, open_handle
from service.media.decoder_allowlist import AUDIO_DECODERS, VIDEO_DECODERS
from service.media.duration import read_duration_seconds
from service.media.growing_file import GrowingFile
from service.media.orientation import compute_square_pixel_size
from service.media.truncation import has_clip_signature, lacks_index, refuse_late_index

VIDEO_FORMATS: Final = (
    "mov",
    "matroska",
    "mpegts",
    "avi",
    "flv",
    "mpeg",
    "asf",
    "ogg",
    "dv",
    "mxf",
)
AUDIO_FORMATS: Final = ("wav", "mp3", "flac", "aac")
"""Accepted only so that a sound file is refused for what it is."""

_CONTAINER_OPTIONS: Final = {
    "format_whitelist": ",".join(VIDEO_FORMATS + AUDIO_FORMATS),
    "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
    "protocol_whitelist": "fd",
    "enable_drefs": "0",
    "max_streams": "256",
}
_STREAMABLE_FORMATS: Final = ",".join(
    name for name in VIDEO_FORMATS + AUDIO_FORMATS if name != "mxf"
)
"""Of a clip that is still coming: MXF tells the times of its frames at its end."""
_OVERSIZE_MESSAGE: Final = re.compile(r"Picture size \d+x\d+ (exceeds|is invalid)")
"""FFmpeg says so, and then treats the stream as one whose size it could not find."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLimits:
    """What is refused: longer, with more frames, or with more pixels a frame."""

    max_seconds: float
    max_frames: int
    max_pixels: int


@contextlib.contextmanager
def open_container(clip: ClipSource, max_pixels: int | None = None) -> Generator[InputContainer]:
    """Open a clip as one of the allowed containers.

    Args: max_pixels: what no picture may exceed that FFmpeg decodes to learn of its stream.
    Raises: ClipNotMedia, ClipTruncated, ClipTooManyPixels: in every picture that was met.
    """
    probing = {} if max_pixels is None else {"max_pixels": str(max_pixels)}
    try:
        # FFmpeg makes itself a second handle of the first
        with open_handle(clip) as handle, _captured_ffmpeg_log() as complaints:
            options = {**_CONTAINER_OPTIONS, "fd": str(handle)}
            container = av.open("fd:", options=probing, container_options=options)
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise ClipTruncated() if lacks_index(clip) else ClipNotMedia() from error
    with container:
        _check_picture_sizes(container, complaints)
        yield container


@contextlib.contextmanager
def open_growing_file(
    file: GrowingFile, max_pixels: int, options: Mapping[str, str] | None = None
) -> Generator[InputContainer]:
    """The same with a clip that is still coming, by a reader that nobody else has.

    Args: options: of the demuxer, beyond those that every clip has.
    Raises: ClipNotMedia, ClipTruncated, ClipTooManyPixels.
    """
    refuse_late_index(file)
    try:
        with _captured_ffmpeg_log() as complaints:
            container = av.open(
                file,
                mode="r",
                options={"max_pixels": str(max_pixels)},
                container_options={
                    **_CONTAINER_OPTIONS,
                    "format_whitelist": _STREAMABLE_FORMATS,
                    **(options or {}),
                },
            )
    except (FFmpegError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        raise ClipTruncated() if has_clip_signature(file) else ClipNotMedia() from error
    with container:
        _check_picture_sizes(container, complaints)
        yield container


def _check_picture_sizes(
    container: InputContainer, log_messages: Sequence[tuple[int, str, str]]
) -> None:
    met = any(_is_probed(stream) for stream in container.streams.video)
    if not met and any(_OVERSIZE_MESSAGE.search(text) for *_, text in log_messages):
        raise ClipTooManyPixels()


def _is_probed(stream: VideoStream) -> bool:
    """Whether FFmpeg knows what a stream's pictures look like."""
    return bool(stream.codec_context and stream.width and stream.codec_context.pix_fmt)


@contextlib.contextmanager
def _captured_ffmpeg_log() -> Generator[list[tuple[int, str, str]]]:
    """What FFmpeg complains of on this thread meanwhile: level, who, and what."""
    level = libav_log.get_level()
    libav_log.set_level(libav_log.ERROR)
    try:
        with libav_log.Capture(local=True) as complaints:
            yield complaints
    finally:
        libav_log.set_level(level)


def check_limits(container: InputContainer, stream: VideoStream, limits: ClipLimits) -> None:
    """Refuse by what the container declares, before a frame is decoded.

    Raises: ClipTooLong, ClipTooManyPixels.
    """
    coded = stream.codec_context.coded_width * stream.codec_context.coded_height
    width, height = compute_square_pixel_size(
        stream.width, stream.height, stream.sample_aspect_ratio
    )
    if max(coded, stream.width * stream.height, width * height) > limits.max_pixels:
        raise ClipTooManyPixels()
    if (read_duration_seconds(container, stream) or 0.0) > limits.max_seconds:
        raise ClipTooLong()
    if stream.frames > limits.max_frames:
        raise ClipTooLong()
