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

from service.domain.arrays import Bytes, Floats
from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import demo_performance, film, sound_of
from training.synthetic.studio import Studio

LOOP_SECONDS: Final = 16
"""Whole pictures and, at 8 kHz, whole AAC packets: 125 of 1024 samples."""
SIZE: Final = (160, 120)
_SOUND_RATE_HZ: Final = 8_000
_IN_ORDER: Final = {"preset": "veryfast", "bf": "0"}
"""Pictures are coded in the order in which they are shown, so a round may end after any."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
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
    _draw(loop, rate)
    with av.open(str(loop)) as source, av.open(str(path), "w") as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        bases = [stream.time_base or Fraction(1) for stream in source.streams]
        parts = list(_read(source.demux(), bases))
        for start in range(0, seconds, LOOP_SECONDS):
            rest = [part for part in parts if part.dts * bases[part.stream] < seconds - start]
            target.mux(list(_repeat(rest, streams, bases, start)))
    loop.unlink()


def _read(packets: Iterable[Packet], bases: list[Fraction]) -> Iterator[_Part]:
    """The packets of one round; the encoder's padding at the end of the sound is left out."""
    last = [round(LOOP_SECONDS / base) for base in bases]
    firsts: dict[int, int] = {}
    for packet in packets:
        index = packet.stream.index
        if packet.pts is None or packet.dts is None:
            continue
        if packet.dts - firsts.setdefault(index, packet.dts) < last[index]:
            yield _Part(
                stream=index,
                data=bytes(packet),
                pts=packet.pts,
                dts=packet.dts,
                duration=packet.duration or 0,
                is_keyframe=packet.is_keyframe,
            )


def _repeat(
    parts: list[_Part], streams: list[Stream], bases: list[Fraction], start_seconds: int
) -> Iterator[Packet]:
    shifts = [round(start_seconds / base) for base in bases]
    for part in parts:
        packet = Packet(part.data)
        packet.stream, packet.time_base = streams[part.stream], bases[part.stream]
        packet.pts = part.pts + shifts[part.stream]
        packet.dts = part.dts + shifts[part.stream]
        packet.duration, packet.is_keyframe = part.duration, part.is_keyframe
        yield packet


def _draw(path: Path, rate: Fraction) -> None:
    """One round: pictures at the rate and the voice, at 8 kHz."""
    width, height = SIZE
    performance = demo_performance(seconds=LOOP_SECONDS)
    studio = Studio(performance, Camera.of_seed(performance.seed), height=height, width=width)
    times = np.arange(round(LOOP_SECONDS * rate)) / float(rate)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate, options=_IN_ORDER)
        audio = container.add_stream("aac", rate=_SOUND_RATE_HZ, layout="mono")
        assert isinstance(video, VideoStream)
        assert isinstance(audio, AudioStream)
        video.width, video.height = SIZE
        video.pix_fmt = "yuv420p"
        for packet in _encode_pictures(video, film(performance, studio, times), rate):
            container.mux(packet)
        for packet in _encode_sound(audio, sound_of(performance)):
            container.mux(packet)


def _encode_pictures(
    video: VideoStream, pictures: Iterable[Bytes], rate: Fraction
) -> Iterator[list[Packet]]:
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = index, 1 / rate
        yield video.encode(frame)
    yield video.encode(None)


def _encode_sound(audio: AudioStream, waveform: Floats) -> Iterator[list[Packet]]:
    frame = av.AudioFrame.from_ndarray(waveform[None, :], format="flt", layout="mono")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), 0
    resampler = av.AudioResampler(
        format=audio.format, layout="mono", rate=_SOUND_RATE_HZ, frame_size=1024
    )
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        yield audio.encode(resampled)
    yield audio.encode(None)
