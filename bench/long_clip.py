"""Long clips without encoding them: the packets of a short one, over and over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames
from training.synthetic.renderer import PerformanceRenderer

LOOP_SECONDS: Final = 16
"""Whole pictures and, at 8 kHz, whole AAC packets: 125 of 1024 samples."""
FRAME_SIZE: Final = (160, 120)
_AUDIO_RATE_HZ: Final = 8_000
_NO_B_FRAMES: Final = {"preset": "veryfast", "bf": "0"}
"""Pictures are coded in the order in which they are shown, so a round may end after any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoopPacket:
    """A packet of one round: its place in ticks from the round's start."""

    stream: int
    data: bytes
    pts: int
    dts: int
    duration: int
    is_keyframe: bool


def write_long_clip(path: Path, seconds: int, rate: Fraction) -> None:
    """Write an MP4 of H.264 and AAC: a drawn face that speaks, encoded once and repeated.

    Args: seconds: how long it is; rate: frames a second.
    """
    loop = path.with_name(f"loop-{path.name}")
    _encode_loop(loop, rate)
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        bases = [stream.time_base or Fraction(1) for stream in source.streams]
        parts = list(_read_packets(source.demux(), bases))
        for start in range(0, seconds, LOOP_SECONDS):
            rest = [part for part in parts if part.dts * bases[part.stream] < seconds - start]
            target.mux(list(_shift_packets(rest, streams, bases, start)))
    loop.unlink()


def _read_packets(packets: Iterable[Packet], bases: list[Fraction]) -> Iterator[_LoopPacket]:
    """The packets of one round; the encoder's padding at the end of the sound is left out."""
    last = [round(LOOP_SECONDS / base) for base in bases]
    firsts: dict[int, int] = {}
    for packet in packets:
        index = packet.stream.index
        if packet.pts is None or packet.dts is None:
            continue
        if packet.dts - firsts.setdefault(index, packet.dts) < last[index]:
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
) -> Iterator[Packet]:
    shifts = [round(start_seconds / base) for base in bases]
    for loop_packet in loop_packets:
        packet = Packet(loop_packet.data)
        packet.stream, packet.time_base = streams[loop_packet.stream], bases[loop_packet.stream]
        packet.pts = loop_packet.pts + shifts[loop_packet.stream]
        packet.dts = loop_packet.dts + shifts[loop_packet.stream]
        packet.duration, packet.is_keyframe = loop_packet.duration, loop_packet.is_keyframe
        yield packet


def _encode_loop(path: Path, rate: Fraction) -> None:
    """One round: pictures at the rate and the voice, at 8 kHz."""
    width, height = FRAME_SIZE
    performance = create_demo_performance(seconds=LOOP_SECONDS)
    studio = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    times = np.arange(round(LOOP_SECONDS * rate)) / float(rate)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options=_NO_B_FRAMES)
        audio = container.add_stream("aac", rate=_AUDIO_RATE_HZ, layout="mono")
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height = FRAME_SIZE
        video.pix_fmt = "yuv420p"
        for packet in _encode_pictures(video, render_frames(performance, studio, times), rate):
            container.mux(packet)
        for packet in _encode_audio(audio, render_audio(performance)):
            container.mux(packet)


def _encode_pictures(
    video: VideoStream, pictures: Iterable[UInt8Array], rate: Fraction
) -> Iterator[list[Packet]]:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / rate
        yield video.encode(frame)
    yield video.encode(None)


def _encode_audio(audio: AudioStream, waveform: Float32Array) -> Iterator[list[Packet]]:
    frame = av.AudioFrame.from_ndarray(waveform[None, :], format="flt", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
    resampler = av.AudioResampler(
        format=audio.format, layout="mono", rate=_AUDIO_RATE_HZ, frame_size=1024
    )
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        yield audio.encode(resampled)
    yield audio.encode(None)
