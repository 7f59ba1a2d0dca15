"""Reading of clips in this process, by the service and by a plain PyAV loop."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import InvalidDataError

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.media import Anomalies, Flag, MediaInfo
from service.media.audio import open_audio
from service.media.demux import open_container
from service.media.media_info import ClipLimits, check_limits, read_media_info
from service.media.stream_selection import select_audio_stream, select_video_stream
from service.media.truncation import is_truncated
from service.media.video import VideoReader

GENEROUS_LIMITS = ClipLimits(max_seconds=3600, max_frames=100_000, max_pixels=4096 * 4096)


def read_frames(
    clip: Path, limits: ClipLimits = GENEROUS_LIMITS
) -> tuple[list[float], list[UInt8Array]]:
    """Read times and pixels of every frame as the service does."""
    times, pixels, _, _ = read_all(clip, limits)
    return times, pixels


def read_all(
    clip: Path, limits: ClipLimits = GENEROUS_LIMITS, *, video_stream: int | None = None
) -> tuple[list[float], list[UInt8Array], set[Flag], MediaInfo]:
    reading = read_video(clip, limits, video_stream=video_stream)
    return reading.times, reading.pixels, reading.flags, reading.media


@dataclass(frozen=True, kw_only=True)
class ClipReading:
    """Pictures of a clip, and the service's facts about them."""

    times: list[float]
    pixels: list[UInt8Array]
    flags: set[Flag]
    media: MediaInfo
    anomalies: Anomalies


def read_video(
    clip: Path, limits: ClipLimits = GENEROUS_LIMITS, *, video_stream: int | None = None
) -> ClipReading:
    with open_container(clip) as container:
        stream = select_video_stream(container, clip, video_stream)
        check_limits(container, stream, limits)
        reader = VideoReader(
            container, stream, limits=limits, threads=2, is_truncated=is_truncated(clip)
        )
        pictures = list(reader.read())
        return ClipReading(
            times=[picture.time_seconds for picture in pictures],
            pixels=[picture.planes.to_rgb() for picture in pictures],
            flags=reader.flags(),
            media=read_media_info(
                container, stream, select_audio_stream(container), pictures[0].frame_format
            ),
            anomalies=reader.anomalies(),
        )


def decode_times_with_pyav(clip: Path) -> list[float | None]:
    """Decode pts * time base in a plain loop, flush included; failing packets are skipped."""
    times: list[float | None] = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except InvalidDataError:
                continue
            base = stream.time_base or Fraction(1, av.time_base)
            times += [None if each.pts is None else float(each.pts * base) for each in frames]
    return times


def read_audio(
    clip: Path, *, seconds: float, audio_stream: int | None = None
) -> tuple[Float32Array, set[Flag]]:
    """Read the audio from time 0 as for chunks, 16 kHz."""
    waveform, flags, _ = read_audio_and_anomalies(clip, seconds=seconds, audio_stream=audio_stream)
    return waveform, flags


def read_audio_and_anomalies(
    clip: Path, *, seconds: float, audio_stream: int | None = None
) -> tuple[Float32Array, set[Flag], Anomalies]:
    hops = range(round(100 * seconds))
    parts: list[Float32Array] = []
    with open_container(clip) as container:
        audio = open_audio(container, audio_stream)
        for first in range(0, len(hops), 64):
            part = list(hops[first : first + 64])
            waveform, starts = audio.read_patches(part)
            assert starts.tolist() == list(range(len(part)))
            parts.append(waveform[: len(part) * 160])
        return np.concatenate(parts), audio.flags(), audio.add_anomalies(Anomalies())


def locate_pattern(waveform: Float32Array, pattern: Float32Array, *, near_seconds: float) -> float:
    """Locate a pattern in 16 kHz audio, in seconds, within 0.3 s of `near_seconds`."""
    first = max(0, round((near_seconds - 0.3) * 16_000))
    part = waveform[first : first + round(0.6 * 16_000) + len(pattern)]
    return (first + int(np.argmax(np.correlate(part, pattern, "valid")))) / 16_000
