"""Audio and frame times of a recording's video, on the service's time axis.

Sample n is at n / 16000 seconds, a frame at its presentation time. A test checks that both equal
the service's.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import FFmpegError

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.data.errors import VideoUnreadable

MAX_JITTER_SAMPLES: Final = SAMPLE_RATE_HZ // 200
"""Audio timestamps may deviate by 5 ms before samples are moved to them."""

_DOWNMIX_OPTIONS: Final = {"rematrix_maxval": "1.0"}
"""The service's downmix: full-scale stereo stays within [-1, 1]."""

Seconds = npt.NDArray[np.float64]


def read_video(video: Path) -> tuple[Seconds, Float32Array]:
    """Read the presentation time of every frame, and the audio.

    Returns: (F,) seconds, ascending, and (S,) in [-1, 1], mono 16 kHz; empty without a stream.
    Raises: VideoUnreadable.
    """
    try:
        with av.open(f"file:{video}") as container:
            times = _read_frame_times(container)
        with av.open(f"file:{video}") as container:
            return times, _read_waveform(container)
    except FFmpegError as error:
        raise VideoUnreadable(f"{video}: {error}") from error


def extend_times(times: Seconds, row_count: int, rate_hz: float) -> Seconds:
    """Return one time per row: the video's, continued at its median step for further rows."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0 / rate_hz
    start = times[-1] + step if len(times) else 0.0
    more = start + step * np.arange(max(0, row_count - len(times)), dtype=np.float64)
    return np.concatenate((times[:row_count], more)).astype(np.float64)


def _read_frame_times(container: InputContainer) -> Seconds:
    stream = container.streams.best("video")
    if stream is None:
        return np.zeros(0)
    base = stream.time_base or Fraction(1)
    # Timestamps without decoding: B-frames are out of order, discarded packets are marked.
    stamps = [
        packet.pts
        for packet in container.demux(stream)
        if packet.pts is not None and not packet.is_discard
    ]
    return np.array([float(stamp * base) for stamp in sorted(stamps)])


def _read_waveform(container: InputContainer) -> Float32Array:
    stream = container.streams.best("audio")
    if stream is None:
        return np.zeros(0, np.float32)
    frames = (frame for frame in container.decode(stream) if isinstance(frame, AudioFrame))
    segments = list(_resample_segments(frames, stream.time_base or Fraction(1)))
    end = max((start + len(samples) for start, samples in segments), default=0)
    waveform = np.zeros(max(end, 0), np.float32)
    for start, samples in segments:
        clipped = samples[max(0, -start) :]
        waveform[max(0, start) : max(0, start) + len(clipped)] = clipped
    return waveform


def _resample_segments(
    frames: Iterator[AudioFrame], time_base: Fraction
) -> Iterator[tuple[int, Float32Array]]:
    """Yield (first sample, mono 16 kHz samples); a gap or a new format starts a new segment."""
    resampler = AudioResampler("flt", "mono", SAMPLE_RATE_HZ, options=_DOWNMIX_OPTIONS)
    current_format, expected, next_sample = ("", "", 0), 0.0, 0
    for frame in frames:
        position = expected if frame.pts is None else float(frame.pts * time_base * SAMPLE_RATE_HZ)
        frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if frame_format != current_format or abs(position - expected) > MAX_JITTER_SAMPLES:
            if current_format[0]:
                yield next_sample, _resample(resampler, None)
            resampler = AudioResampler("flt", "mono", SAMPLE_RATE_HZ, options=_DOWNMIX_OPTIONS)
            current_format, expected, next_sample = frame_format, position, round(position)
        expected += frame.samples * SAMPLE_RATE_HZ / frame.sample_rate
        frame.pts = None
        samples = _resample(resampler, frame)
        yield next_sample, samples
        next_sample += len(samples)
    if current_format[0]:
        yield next_sample, _resample(resampler, None)


def _resample(resampler: AudioResampler, frame: AudioFrame | None) -> Float32Array:
    segments = [
        resampled.to_ndarray().reshape(-1)
        for resampled in resampler.resample(frame)
        if resampled is not None  # pyright: ignore[reportUnnecessaryComparison]  # PyAV's stubs omit None
    ]
    samples = np.concatenate([np.zeros(0, np.float32), *segments]).astype(np.float32)
    return np.clip(np.nan_to_num(samples), -1.0, 1.0)
