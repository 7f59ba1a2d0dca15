"""Factory of clips with the oddities of cameras, phones and damage as parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.array_types import Float32Array, UInt8Array
from tests.media.encoding import add_audio, add_video, encode_audio, encode_video

MPEG_TIME_BASE = Fraction(1, 90_000)
CLAP_SECONDS = 0.02


def make_clap(rate_hz: int) -> Float32Array:
    """Make 20 ms of seeded noise below 4 kHz, which can be located to the sample."""
    coarse = np.random.default_rng(3).standard_normal(round(CLAP_SECONDS * 8000))
    fine = np.interp(
        np.arange(round(CLAP_SECONDS * rate_hz)) * 8000 / rate_hz, np.arange(len(coarse)), coarse
    )
    return (0.3 * fine).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class AudioTrack:
    """Claps in silence. gaps_seconds: (from, to) that are left out."""

    codec: str = "aac"
    rate_hz: int = 48_000
    layout: str = "mono"
    seconds: float = 4.0
    start_seconds: float = 0.0
    clap_seconds: Sequence[float] = (1.0, 2.5)
    gaps_seconds: Sequence[tuple[float, float]] = ()
    gain: float = 1.0

    def samples(self) -> Float32Array:
        """Make the samples from `start_seconds` on, (S,)."""
        samples = np.zeros(round(self.seconds * self.rate_hz), dtype=np.float32)
        for seconds in self.clap_seconds:
            first = round((seconds - self.start_seconds) * self.rate_hz)
            noise = make_clap(self.rate_hz)
            samples[first : first + len(noise)] += self.gain * noise
        return samples


@dataclass(frozen=True, kw_only=True)
class VideoTrack:
    """Pictures at `times`, or `count` of them at `rate` from `start_seconds` on."""

    codec: str = "libx264"
    size: tuple[int, int] = (96, 64)
    rate: Fraction = Fraction(25)
    count: int = 100
    start_seconds: Fraction = Fraction(0)
    times: Sequence[Fraction] | None = None
    time_base: Fraction = MPEG_TIME_BASE
    picture: UInt8Array | None = None
    aspect: Fraction | None = None
    rotation: int = 0
    options: dict[str, str] = field(default_factory=lambda: {"preset": "veryfast"})

    def frame_times(self) -> list[Fraction]:
        """Return the presentation times in seconds."""
        return list(self.times or [self.start_seconds + k / self.rate for k in range(self.count)])


def encode_clip(
    path: Path,
    video_track: VideoTrack | None = None,
    audio_track: AudioTrack | None = None,
    **muxer_options: str,
) -> Path:
    """Write a clip; its suffix selects the container."""
    with av.open(str(path), "w", options=muxer_options) as container:
        video = _add_video(container, video_track) if video_track else None
        audio = None
        if audio_track:
            audio = add_audio(
                container, audio_track.codec, rate_hz=audio_track.rate_hz, layout=audio_track.layout
            )
        if video_track and video is not None:
            encode_video(container, video, _make_pictures(video_track))
        if audio_track and audio is not None:
            encode_audio(container, audio, _make_audio(audio, audio_track))
    return path


def _add_video(container: OutputContainer, track: VideoTrack) -> VideoStream:
    video = add_video(container, track.codec, rate=track.rate, size=track.size)
    video.codec_context.time_base = track.time_base
    video.codec_context.options = track.options
    if track.aspect is not None:
        video.codec_context.sample_aspect_ratio = track.aspect
    if track.rotation:
        video.set_display_rotation(track.rotation)
    return video


def _make_pictures(track: VideoTrack) -> Iterator[VideoFrame]:
    for index, moment in enumerate(track.frame_times()):
        frame = VideoFrame.from_ndarray(_frame_pixels(track, index), format="rgb24")
        frame.pts, frame.time_base = round(moment / track.time_base), track.time_base
        yield frame


def _frame_pixels(track: VideoTrack, index: int) -> UInt8Array:
    if track.picture is not None:
        return track.picture
    width, height = track.size
    rows, columns = np.mgrid[:height, :width]
    shade = (rows * 2 + columns + 5 * index) % 256
    return np.stack([shade, 255 - shade, np.full_like(shade, 128)], axis=-1).astype(np.uint8)


def _make_audio(audio: AudioStream, track: AudioTrack) -> Iterator[AudioFrame]:
    samples, block = track.samples(), 960
    channels = audio.layout.nb_channels
    resampler = AudioResampler(format=audio.format, layout=track.layout, rate=track.rate_hz)
    for first in range(0, len(samples), block):
        seconds = track.start_seconds + first / track.rate_hz
        if any(low <= seconds < high for low, high in track.gaps_seconds):
            continue
        part = np.tile(samples[first : first + block], (channels, 1))
        frame = AudioFrame.from_ndarray(part, format="fltp", layout=track.layout)
        frame.sample_rate = track.rate_hz
        frame.time_base = Fraction(1, track.rate_hz)
        frame.pts = round(track.start_seconds * track.rate_hz) + first
        yield from resampler.resample(frame)
