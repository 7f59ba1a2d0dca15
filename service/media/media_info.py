"""Media information: facts that a container declares about a clip, and limits on them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from service.domain.media import MediaInfo
from service.errors import ClipTooLong, ClipTooManyPixels
from service.media.frame_format import (
    FIELD_ORDERS,
    FrameFormat,
    compute_display_size,
    compute_square_pixel_size,
)
from service.media.stream_selection import list_moving_streams

_CLOCK_PARTS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipLimits:
    """Limits on a clip's length, its number of frames and the pixels of a frame."""

    max_seconds: float
    max_frames: int
    max_pixels: int


def check_limits(container: InputContainer, stream: VideoStream, limits: ClipLimits) -> None:
    """Check the declared sizes of a clip before a frame is decoded.

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


def read_media_info(
    container: InputContainer,
    stream: VideoStream,
    audio: AudioStream | None,
    frame_format: FrameFormat,
) -> MediaInfo:
    """Collect what the container declares, and the format of the first frame."""
    return MediaInfo(
        container=container.format.name,
        container_seconds=read_container_duration_seconds(container),
        audio_streams=len(container.streams.audio),
        **_describe_video(container, stream),
        **_describe_frame_format(frame_format),
        **_describe_audio(audio),
    )


def _describe_video(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    rate: Fraction | None = stream.average_rate
    nominal: Fraction | None = stream.base_rate
    seconds = read_duration_seconds(container, stream)
    expected = round(seconds * rate) if seconds and rate else None
    return {
        "video_streams": len(list_moving_streams(container)),
        "video_stream_index": stream.index,
        "video_codec": stream.codec_context.codec.canonical_name,
        "video_profile": stream.profile,
        "field_order": FIELD_ORDERS.get(stream.codec_context.field_order),
        "average_rate_hz": float(rate) if rate else None,
        "nominal_rate_hz": float(nominal) if nominal else None,
        "time_base": None if stream.time_base is None else str(stream.time_base),
        "video_start_seconds": read_start_seconds(stream),
        "duration_seconds": seconds,
        "frames_estimate": stream.frames if stream.frames > 0 else expected,
    }


def _describe_frame_format(frame_format: FrameFormat) -> dict[str, Any]:
    width, height = compute_display_size(
        frame_format.width, frame_format.height, frame_format.aspect, frame_format.orientation
    )
    aspect, colours = frame_format.aspect, frame_format.colours
    return {
        "width": width,
        "height": height,
        "coded_width": frame_format.width,
        "coded_height": frame_format.height,
        "sample_aspect_ratio": aspect and f"{aspect.numerator}:{aspect.denominator}",
        "rotation_degrees": frame_format.orientation.degrees,
        "mirrored": frame_format.orientation.mirrored,
        "pixel_format": frame_format.pixel_format,
        "bit_depth": frame_format.bit_depth,
        "color_range": colours.range,
        "color_matrix": colours.matrix,
        "color_transfer": colours.transfer,
        "color_primaries": colours.primaries,
        "hdr": colours.hdr,
    }


def _describe_audio(audio: AudioStream | None) -> dict[str, Any]:
    codec = audio.codec_context if audio is not None else None
    if audio is None or codec is None:
        return dict.fromkeys(("audio_codec", "audio_rate_hz", "audio_channels"))
    return {
        "audio_stream_index": audio.index,
        "audio_codec": codec.codec.canonical_name,
        "audio_profile": audio.profile,
        "audio_rate_hz": codec.sample_rate,
        "audio_channels": codec.channels,
        "audio_layout": codec.layout.name,
        "audio_start_seconds": read_start_seconds(audio),
        "audio_duration_seconds": read_stream_duration_seconds(audio),
    }


def read_duration_seconds(
    container: InputContainer, stream: VideoStream | AudioStream
) -> float | None:
    """Declared duration of a stream, else of the file; None: absent or invalid."""
    own = read_stream_duration_seconds(stream)
    return read_container_duration_seconds(container) if own is None else own


def read_stream_duration_seconds(stream: VideoStream | AudioStream) -> float | None:
    """Duration that is declared for this stream itself."""
    if stream.duration is not None and stream.time_base is not None:
        return _discard_invalid(float(stream.duration * stream.time_base))
    tagged = _parse_duration_tag(stream.metadata.get("DURATION", ""))
    return None if tagged is None else max(tagged - (read_start_seconds(stream) or 0.0), 0.0)


def declares_file_duration(container: InputContainer, stream: VideoStream) -> bool:
    """Check whether the duration of a stream is the file's; ASF declares no other."""
    return container.format.name == "asf" or read_stream_duration_seconds(stream) is None


def read_container_duration_seconds(container: InputContainer) -> float | None:
    """Duration that is declared for the file as a whole."""
    return (
        None if container.duration is None else _discard_invalid(container.duration / av.time_base)
    )


def read_start_seconds(stream: VideoStream | AudioStream) -> float | None:
    """First timestamp that is declared for a stream."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def _parse_duration_tag(text: str) -> float | None:
    """Parse Matroska's DURATION tag, `HH:MM:SS.fraction`, into seconds."""
    parts = text.split(":")
    if len(parts) != _CLOCK_PARTS:
        return None
    try:
        hours, minutes, seconds = (float(part) for part in parts)
    except ValueError:
        return None
    return _discard_invalid(3600 * hours + 60 * minutes + seconds)


def _discard_invalid(seconds: float) -> float | None:
    """Return None for negative, infinite and NaN durations."""
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
