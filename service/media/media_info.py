"""What a file says of itself, for the reader of its result."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from service.domain.media import MediaInfo
from service.media.duration import (
    read_container_duration_seconds,
    read_duration_seconds,
    read_start_seconds,
    read_stream_duration_seconds,
)
from service.media.frame_format import FIELD_ORDERS, FrameFormat
from service.media.orientation import compute_display_size
from service.media.stream_selection import list_moving_streams


def read_media_info(
    container: InputContainer,
    stream: VideoStream,
    audio: AudioStream | None,
    frame_format: FrameFormat,
) -> MediaInfo:
    """What the container says of the clip, and its first frame's look."""
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
