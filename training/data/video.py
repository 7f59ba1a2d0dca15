"""Audio and frame times of a recording's video, by the service's own reader.

Sample n is at n / 16000 seconds, a frame at its presentation time. Damaged packets are skipped, as
they are when the video is analysed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Flag
from service.errors import ClipError
from service.media.audio import open_audio
from service.media.demux import StreamDecoder, open_container, read_packets
from service.media.frame_times import FrameClock
from service.media.resample import AudioSegment
from service.media.stream_selection import select_video_stream
from training.data.errors import VideoUnreadable

_LOG: Final = logging.getLogger(__name__)
_MAX_AUDIO_EXCESS: Final = 1.1
_MAX_EXTRA_SECONDS: Final = 10
"""Audio is read up to 1.1 times the last frame's time and 10 s: a stray timestamp may be years."""

Seconds = npt.NDArray[np.float64]


def read_video(video: Path) -> tuple[Seconds, Float32Array]:
    """Read the presentation time of every frame, and the audio; logs the audio's faults.

    Returns: (F,) seconds, and (S,) in [-1, 1], mono 16 kHz; empty without an audio stream.
    Raises: VideoUnreadable: no frame, or an audio stream that cannot be decoded.
    """
    times, waveform, flags = read_video_with_flags(video)
    if flags:
        _LOG.warning("%s: %s", video, ", ".join(sorted(flags)))
    return times, waveform


def read_video_with_flags(video: Path) -> tuple[Seconds, Float32Array, set[Flag]]:
    """Read times and audio, and whether the video has no audio or damaged audio.

    Raises: VideoUnreadable.
    """
    try:
        times = read_frame_times(video)
        end_seconds = float(times.max()) * _MAX_AUDIO_EXCESS + _MAX_EXTRA_SECONDS
        return times, *_read_waveform(video, round(end_seconds * SAMPLE_RATE_HZ))
    except (ClipError, ValueError) as error:  # PyAV: a tag that is not UTF-8
        raise VideoUnreadable(f"{video}: {error}") from error


def read_frame_times(video: Path) -> Seconds:
    """Read the presentation time of every frame that can be decoded, (F,) seconds.

    Raises: VideoUnreadable, ClipError.
    """
    with open_container(video) as container:
        times = list(_iter_frame_times(container, video))
    if not times:
        raise VideoUnreadable(f"{video}: no frame can be decoded")
    return np.array(times)


def read_packet_times(video: Path) -> Seconds:
    """Read the presentation time of every packet of pictures, in order, (F,) seconds.

    Nothing is decoded: a small part of the time of `read_frame_times`, and the same times but where
    a picture is damaged or its time is inferred.

    Raises: VideoUnreadable.
    """
    try:
        with open_container(video) as container:
            stream = select_video_stream(container, video)
            base = stream.time_base or Fraction(1, av.time_base)
            packets = list(read_packets(container, [stream], lambda: None))
            ticks = [p.dts if p.pts is None else p.pts for p in packets if not p.is_discard]
    except (ClipError, ValueError) as error:  # PyAV: a tag that is not UTF-8
        raise VideoUnreadable(f"{video}: {error}") from error
    times = sorted(float(each * base) for each in ticks if each is not None)
    if not times:
        raise VideoUnreadable(f"{video}: no frame has a time")
    return np.array(times)


def check_video_opens(video: Path) -> None:
    """Decode the first frame, and find the audio. Raises: VideoUnreadable."""
    try:
        with open_container(video) as container:
            if next(_iter_frame_times(container, video), None) is None:
                raise VideoUnreadable(f"{video}: no frame can be decoded")
            open_audio(container, None)
    except (ClipError, ValueError) as error:
        raise VideoUnreadable(f"{video}: {error}") from error


def extend_times(times: Seconds, row_count: int, rate_hz: float) -> Seconds:
    """Return one time per row: the video's, continued at its median step for further rows."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0 / rate_hz
    start = times[-1] + step if len(times) else 0.0
    more = start + step * np.arange(max(0, row_count - len(times)), dtype=np.float64)
    return np.concatenate((times[:row_count], more)).astype(np.float64)


def _iter_frame_times(container: InputContainer, video: Path) -> Iterator[float]:
    stream = select_video_stream(container, video)
    context = stream.codec_context
    context.thread_type = "SLICE"  # as the service decodes
    context.options = {"skip_loop_filter": "all"}  # of the pixels, which nothing looks at
    clock = FrameClock(stream)
    return (clock.read(frame) for frame in StreamDecoder(container, stream))


def _read_waveform(video: Path, max_samples: int) -> tuple[Float32Array, set[Flag]]:
    with open_container(video) as container:
        audio = open_audio(container, None)
        segments: list[AudioSegment] = []
        for segment in iter(audio.read_segment, None):
            segments.append(segment)
            audio.buffer.append(segment, 0)  # its flags and counts are of what was appended
        flags = audio.flags()
    if Flag.AUDIO_UNREADABLE in flags:
        raise VideoUnreadable(f"{video}: its audio cannot be decoded")
    end = max((start + len(samples) for start, samples in segments), default=0)
    waveform = np.zeros(min(max(end, 0), max_samples), np.float32)
    for start, samples in segments:
        clipped = samples[max(0, -start) :]
        place = waveform[max(0, start) : max(0, start) + len(clipped)]
        place[:] = clipped[: len(place)]
    return waveform, flags & {Flag.NO_AUDIO, Flag.DAMAGED}
