"""Timed reading, remuxing and camera capture with PyAV; needs the extra `media`."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from circumplex_client.errors import InvalidMedia
from circumplex_client.live.media import ImageFrame

FRAGMENT_OPTIONS: Final = {"movflags": "delay_moov+default_base_moof", "frag_duration": "40000"}
"""Fragments of 40 ms; the index, with its edit lists, is written after the first of them."""

JPEG_QUALITY: Final = "3"
"""FFmpeg's scale: 2 is the best, 31 the worst."""

CAMERA_FORMATS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""FFmpeg's input of cameras, by platform."""


def read_timed(path: Path) -> Iterator[tuple[float, bytes]]:
    """Yield (seconds, bytes): the file up to the end of each packet, at the packet's time."""
    with _open_container(str(path)) as clip, path.open("rb") as file:
        sent, first, seconds = 0, None, 0.0
        for packet in clip.demux():
            if packet.dts is None or packet.pos is None:
                continue
            time = float(packet.dts * packet.time_base)
            first = time if first is None else first
            seconds = max(seconds, time - first)
            until = packet.pos + packet.size
            if until > sent:
                yield seconds, file.read(until - sent)
                sent = until
        yield seconds, file.read()


def remux_fragmented(path: Path) -> Iterator[tuple[float, bytes]]:
    """Yield (seconds, bytes) of a fragmented file with the same packets."""
    written = _OutputBuffer()
    with (
        _open_container(str(path)) as clip,
        av.open(written, "w", format="mov", options=FRAGMENT_OPTIONS) as target,
    ):
        streams = {
            stream.index: target.add_stream_from_template(stream)  # pyright: ignore[reportUnknownMemberType]  # PyAV's untyped **kwargs
            for stream in (*clip.streams.video, *clip.streams.audio)
        }
        first, seconds = None, 0.0
        for packet in clip.demux(*(clip.streams[index] for index in streams)):
            if packet.dts is None:
                continue
            time = float(packet.dts * packet.time_base)
            first = time if first is None else first
            seconds = max(seconds, time - first)
            packet.stream = streams[packet.stream.index]
            target.mux(packet)  # pyright: ignore[reportUnknownMemberType]  # PyAV's Packet is generic without a default
            if data := written.take():
                yield seconds, data
    yield seconds, written.take()


def capture_frames(device: str, *, kind: str | None) -> Iterator[ImageFrame]:
    """Yield a camera's frames as JPEG; the first has time 0.

    kind: FFmpeg's input format; None: this platform's cameras.
    Raises: InvalidMedia.
    """
    with _open_container(device, kind or CAMERA_FORMATS[sys.platform]) as camera:
        encoder, first = None, None
        for number, frame in enumerate(camera.decode(video=0)):
            if frame.pts is None or frame.time_base is None:
                continue
            time = float(frame.pts * frame.time_base)
            first = time if first is None else first
            encoder = encoder or _create_jpeg_encoder(frame)
            picture = frame.reformat(format="yuvj420p")
            picture.pts, picture.time_base = number, encoder.time_base
            picture.pict_type = PictureType.NONE
            yield ImageFrame(time - first, _encode_jpeg(encoder, picture))


class _OutputBuffer:
    """Output file of the muxer: collects what is written until `take`."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        data = bytes(self._data)
        self._data.clear()
        return data


def _create_jpeg_encoder(frame: VideoFrame) -> VideoCodecContext:
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = frame.width, frame.height
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 1000)
    encoder.options = {"qmin": JPEG_QUALITY, "qmax": JPEG_QUALITY}
    return encoder


def _encode_jpeg(encoder: VideoCodecContext, picture: VideoFrame) -> bytes:
    packets = cast("list[Any]", encoder.encode(picture))  # pyright: ignore[reportUnknownMemberType]  # PyAV's Packet is generic without a default
    return b"".join(map(bytes, packets))


@contextmanager
def _open_container(name: str, kind: str | None = None) -> Generator[InputContainer]:
    try:
        # tags are often in a local encoding
        with av.open(name, format=kind, metadata_errors="replace") as container:
            yield container
    except FFmpegError as error:
        raise InvalidMedia(f"{name} cannot be played: {error.strerror}") from error
