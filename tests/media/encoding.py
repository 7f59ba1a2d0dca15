"""Typed encoding and muxing with PyAV, whose own annotations are partial."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, cast

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.array_types import UInt8Array


def add_video(
    container: OutputContainer,
    codec: str,
    *,
    rate: Fraction | int = 25,
    size: tuple[int, int] = (64, 64),
    pixel_format: str = "yuv420p",
) -> VideoStream:
    """Add a stream of pictures, (width, height) in size."""
    stream: VideoStream = cast("Any", container).add_stream(codec, rate=rate)
    stream.width, stream.height = size
    stream.pix_fmt = pixel_format
    return stream


def add_audio(
    container: OutputContainer, codec: str, *, rate_hz: int, layout: str = "mono"
) -> AudioStream:
    """Add a stream of audio."""
    return cast("Any", container).add_stream(codec, rate=rate_hz, layout=layout)


def add_from_template(container: OutputContainer, template: Stream) -> Stream:
    """Add a stream for the packets of another one."""
    return cast("Any", container).add_stream_from_template(template)


def encode_video(
    container: OutputContainer, stream: VideoStream, frames: Iterable[VideoFrame]
) -> None:
    """Encode pictures to their end."""
    for frame in frames:
        encode(container, stream, frame)
    encode(container, stream, None)


def encode_audio(
    container: OutputContainer, stream: AudioStream, frames: Iterable[AudioFrame]
) -> None:
    """Encode audio to its end."""
    for frame in frames:
        encode(container, stream, frame)
    encode(container, stream, None)


def encode(
    container: OutputContainer,
    stream: VideoStream | AudioStream,
    frame: VideoFrame | AudioFrame | None,
) -> None:
    """Encode a frame and write its packets; None: flush the encoder."""
    cast("Any", container).mux(cast("Any", stream).encode(frame))


def mux(container: OutputContainer, packet: Packet[Any]) -> None:
    """Write a packet."""
    cast("Any", container).mux(packet)


def repeat_picture(pixels: UInt8Array, count: int) -> Iterator[VideoFrame]:
    """Make frames 0, 1, .. of one (H, W, 3) RGB picture."""
    for index in range(count):
        frame = VideoFrame.from_ndarray(pixels, format="rgb24")
        frame.pts = index
        yield frame
