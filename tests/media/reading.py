"""Clips read in this process, and by a plain PyAV loop to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from service.domain.arrays import Bytes, Floats
from service.domain.media import Anomalies, Flag, MediaFacts
from service.media.audio import Sound
from service.media.demux import ClipLimits, check_limits, open_container
from service.media.facts import read_facts
from service.media.layout import is_cut
from service.media.streams import choose_sound, choose_video
from service.media.video import VideoReader

GENEROUS = ClipLimits(max_seconds=3600, max_frames=100_000, max_pixels=4096 * 4096)


def read_pictures(clip: Path, limits: ClipLimits = GENEROUS) -> tuple[list[float], list[Bytes]]:
    """Times and pixels of every frame, as the service reads them."""
    times, pixels, _, _ = read_all(clip, limits)
    return times, pixels


def read_all(
    clip: Path, limits: ClipLimits = GENEROUS, *, video_stream: int | None = None
) -> tuple[list[float], list[Bytes], set[Flag], MediaFacts]:
    reading = read_video(clip, limits, video_stream=video_stream)
    return reading.times, reading.pixels, reading.flags, reading.facts


@dataclass(frozen=True, kw_only=True)
class Reading:
    """All that the service learns of a clip's pictures."""

    times: list[float]
    pixels: list[Bytes]
    flags: set[Flag]
    facts: MediaFacts
    anomalies: Anomalies


def read_video(
    clip: Path, limits: ClipLimits = GENEROUS, *, video_stream: int | None = None
) -> Reading:
    with open_container(clip) as container:
        stream = choose_video(container, clip, video_stream)
        check_limits(container, stream, limits)
        reader = VideoReader(container, stream, limits=limits, threads=2, is_cut=is_cut(clip))
        pictures = list(reader.read())
        return Reading(
            times=[picture.time_seconds for picture in pictures],
            pixels=[picture.pixels for picture in pictures],
            flags=reader.flags(),
            facts=read_facts(container, stream, choose_sound(container), pictures[0].look),
            anomalies=reader.anomalies(),
        )


def plain_times(clip: Path) -> list[float | None]:
    """pts * time base of a plain decode loop, flush included; failing packets are passed over."""
    times: list[float | None] = []
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            ticks = [frame.pts for frame in frames]
            times += [None if pts is None else float(pts * stream.time_base) for pts in ticks]
    return times


def hear(
    clip: Path, *, seconds: float, audio_stream: int | None = None
) -> tuple[Floats, set[Flag]]:
    """The clip's sound from time 0, read the way chunks read it, 16 kHz."""
    waveform, flags, _ = listen(clip, seconds=seconds, audio_stream=audio_stream)
    return waveform, flags


def listen(
    clip: Path, *, seconds: float, audio_stream: int | None = None
) -> tuple[Floats, set[Flag], Anomalies]:
    hops = range(round(100 * seconds))
    heard: list[Floats] = []
    with open_container(clip) as container:
        sound = Sound(container, choose_sound(container, audio_stream))
        for first in range(0, len(hops), 64):
            part = list(hops[first : first + 64])
            waveform, starts = sound.cut(part)
            assert starts.tolist() == list(range(len(part)))
            heard.append(waveform[: len(part) * 160])
        return np.concatenate(heard), sound.flags(), sound.report(Anomalies())


def locate(waveform: Floats, pattern: Floats, *, near: float) -> float:
    """Where a pattern lies in 16 kHz sound, seconds, within 0.3 s of `near`."""
    first = max(0, round((near - 0.3) * 16_000))
    part = waveform[first : first + round(0.6 * 16_000) + len(pattern)]
    return (first + int(np.argmax(np.correlate(part, pattern, "valid")))) / 16_000
