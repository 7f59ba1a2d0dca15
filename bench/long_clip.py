"""Long clips made without encoding them: the packets of a short clip, repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bench.sensor_grain import add_sensor_grain
from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames
from training.synthetic.renderer import PerformanceRenderer

LOOP_SECONDS: Final = 16
"""A whole number of frames and, at 8 kHz, of AAC packets: 125 of 1024 samples."""
_AUDIO_RATE_HZ: Final = 8_000
_NO_B_FRAMES: Final = {"preset": "veryfast", "bf": "0"}
"""Frames are coded in display order, so that a repetition may end after any."""

Packets: TypeAlias = "Sequence[Packet[Any]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPicture:
    """Size of the pictures. bits_per_second: with sensor grain at this rate; None: without."""

    width: int = 160
    height: int = 120
    bits_per_second: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoopPacket:
    """A packet of the short clip; pts and dts in ticks from its start."""

    stream: int
    data: bytes
    pts: int
    dts: int
    duration: int
    is_keyframe: bool


def write_long_clip(path: Path, seconds: int, rate: Fraction) -> None:
    """Write an MP4 of H.264 and AAC: a synthetic actor that speaks, encoded once and repeated.

    Args: seconds: length of the clip; rate: frames a second.
    """
    loop = path.with_name(f"loop-{path.name}")
    encode_loop(loop, rate, LoopPicture())
    repeat_loop(loop, path, seconds)
    loop.unlink()


def repeat_loop(loop: Path, path: Path, seconds: int) -> None:
    """Write a clip of any length that repeats the packets of `encode_loop`."""
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        streams = [_copy_stream(target, stream) for stream in source.streams]
        bases = [stream.time_base or Fraction(1) for stream in source.streams]
        parts = list(_read_packets(source.demux(), bases))
        for start in range(0, seconds, LOOP_SECONDS):
            rest = [part for part in parts if part.dts * bases[part.stream] < seconds - start]
            mux_packets(target, list(_shift_packets(rest, streams, bases, start)))


def _read_packets(
    packets: Iterable[Packet[Stream]], bases: list[Fraction]
) -> Iterator[_LoopPacket]:
    """Read the packets of the short clip, without the audio encoder's padding at the end."""
    last = [round(LOOP_SECONDS / base) for base in bases]
    first_dts: dict[int, int] = {}
    for packet in packets:
        index = packet.stream.index
        if packet.pts is None or packet.dts is None:
            continue
        if packet.dts - first_dts.setdefault(index, packet.dts) < last[index]:
            yield _LoopPacket(
                stream=index,
                data=bytes(packet),
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration or 0,
                is_keyframe=packet.is_keyframe,
            )


def _shift_packets(
    loop_packets: list[_LoopPacket],
    streams: list[Stream],
    bases: list[Fraction],
    start_seconds: int,
) -> Iterator[Packet[Stream]]:
    shifts = [round(start_seconds / base) for base in bases]
    for loop_packet in loop_packets:
        packet: Packet[Stream] = Packet(loop_packet.data)
        packet.stream, packet.time_base = streams[loop_packet.stream], bases[loop_packet.stream]
        packet.pts = loop_packet.pts + shifts[loop_packet.stream]
        packet.dts = loop_packet.dts + shifts[loop_packet.stream]
        packet.duration, packet.is_keyframe = loop_packet.duration, loop_packet.is_keyframe
        yield packet


def encode_loop(path: Path, rate: Fraction, picture: LoopPicture) -> None:
    """Encode the short clip: frames at the rate, and audio at 8 kHz."""
    performance = create_demo_performance(seconds=LOOP_SECONDS)
    renderer = PerformanceRenderer(
        performance,
        Camera.from_seed(performance.seed),
        height=picture.height,
        width=picture.width,
    )
    times = np.arange(round(LOOP_SECONDS * rate)) / float(rate)
    pictures = render_frames(performance, renderer, times)
    with av.open(str(path), "w") as container:
        video = add_video_stream(container, rate=rate, options=_NO_B_FRAMES)
        audio = _add_audio_stream(container)
        video.width, video.height = picture.width, picture.height
        video.pix_fmt = "yuv420p"
        if picture.bits_per_second is not None:
            video.bit_rate = picture.bits_per_second
            pictures = add_sensor_grain(pictures)
        for packets in _encode_pictures(video, pictures, rate):
            mux_packets(container, packets)
        for packets in _encode_waveform(audio, render_audio(performance)):
            mux_packets(container, packets)


def _encode_pictures(
    video: VideoStream, pictures: Iterable[UInt8Array], rate: Fraction
) -> Iterator[Packets]:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / rate
        yield encode_video(video, frame)
    yield encode_video(video, None)


def _encode_waveform(audio: AudioStream, waveform: Float32Array) -> Iterator[Packets]:
    frame = av.AudioFrame.from_ndarray(waveform[None, :], format="flt", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
    resampler = av.AudioResampler(
        format=audio.format, layout="mono", rate=_AUDIO_RATE_HZ, frame_size=1024
    )
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        yield _encode_audio(audio, resampled)
    yield _encode_audio(audio, None)


# PyAV's stubs leave the parameter of Packet open, and keyword arguments without types.


def add_video_stream(
    container: OutputContainer, *, rate: Fraction | int, options: dict[str, str]
) -> VideoStream:
    """Add an H.264 stream to a file."""
    stream = container.add_stream("libx264", rate=rate, options=options)  # pyright: ignore[reportUnknownMemberType]  # see above
    assert isinstance(stream, VideoStream)
    return stream


def encode_video(stream: VideoStream, frame: VideoFrame | None) -> Packets:
    """Encode a frame; None: flush the encoder."""
    return stream.encode(frame)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # see above


def mux_packets(container: OutputContainer, packets: Packets) -> None:
    """Write packets to a file."""
    container.mux(packets)  # pyright: ignore[reportUnknownMemberType]  # see above


def _add_audio_stream(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=_AUDIO_RATE_HZ, layout="mono")  # pyright: ignore[reportUnknownMemberType]  # see above
    assert isinstance(stream, AudioStream)
    return stream


def _copy_stream(container: OutputContainer, template: Stream) -> Stream:
    return container.add_stream_from_template(template)  # pyright: ignore[reportUnknownMemberType]  # see above


def _encode_audio(stream: AudioStream, frame: AudioFrame | None) -> Packets:
    return stream.encode(frame)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # see above
