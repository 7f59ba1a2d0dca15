"""What a file says of itself, for the reader of its result."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from service.domain.media import MediaFacts
from service.media.display import shown_size
from service.media.duration import (
    container_seconds,
    declared_seconds,
    own_seconds,
    start_seconds,
)
from service.media.look import FIELD_ORDERS, Look
from service.media.streams import moving_pictures


def read_facts(
    container: InputContainer, stream: VideoStream, sound: AudioStream | None, look: Look
) -> MediaFacts:
    """What the container says of the clip, and its first frame's look."""
    return MediaFacts(
        container=container.format.name,
        container_seconds=container_seconds(container),
        audio_streams=len(container.streams.audio),
        **_describe_video(container, stream),
        **_describe_look(look),
        **_describe_sound(sound),
    )


def _describe_video(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    rate: Fraction | None = stream.average_rate
    nominal: Fraction | None = stream.base_rate
    seconds = declared_seconds(container, stream)
    expected = round(seconds * rate) if seconds and rate else None
    return {
        "video_streams": len(moving_pictures(container)),
        "video_stream_index": stream.index,
        "video_codec": stream.codec_context.codec.canonical_name,
        "video_profile": stream.profile,
        "field_order": FIELD_ORDERS.get(stream.codec_context.field_order),
        "average_rate_hz": float(rate) if rate else None,
        "nominal_rate_hz": float(nominal) if nominal else None,
        "time_base": None if stream.time_base is None else str(stream.time_base),
        "video_start_seconds": start_seconds(stream),
        "duration_seconds": seconds,
        "frames_estimate": stream.frames if stream.frames > 0 else expected,
    }


def _describe_look(look: Look) -> dict[str, Any]:
    width, height = shown_size(look.width, look.height, look.aspect, look.pose)
    aspect, colours = look.aspect, look.colours
    return {
        "width": width,
        "height": height,
        "coded_width": look.width,
        "coded_height": look.height,
        "sample_aspect_ratio": aspect and f"{aspect.numerator}:{aspect.denominator}",
        "rotation_degrees": look.pose.degrees,
        "mirrored": look.pose.mirrored,
        "pixel_format": look.pixel_format,
        "bit_depth": look.bit_depth,
        "color_range": colours.range,
        "color_matrix": colours.matrix,
        "color_transfer": colours.transfer,
        "color_primaries": colours.primaries,
        "hdr": colours.hdr,
    }


def _describe_sound(sound: AudioStream | None) -> dict[str, Any]:
    codec = sound.codec_context if sound is not None else None
    if sound is None or codec is None:
        return dict.fromkeys(("audio_codec", "audio_rate_hz", "audio_channels"))
    return {
        "audio_stream_index": sound.index,
        "audio_codec": codec.codec.canonical_name,
        "audio_profile": sound.profile,
        "audio_rate_hz": codec.sample_rate,
        "audio_channels": codec.channels,
        "audio_layout": codec.layout.name,
        "audio_start_seconds": start_seconds(sound),
        "audio_duration_seconds": own_seconds(sound),
    }
