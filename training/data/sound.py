"""The sound and the frame times of a recording's video, on the service's time axis.

Sample n is heard at n / 16000 seconds, a frame is seen at its presentation time; both as
the service has it, which a test holds this module to.
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

from service.domain.arrays import Floats
from service.domain.time import SAMPLE_RATE_HZ
from training.data.errors import VideoUnreadable

JITTER_SAMPLES: Final = SAMPLE_RATE_HZ // 200
"""Timestamps may stray 5 ms before sound is moved to them."""

_DOWNMIX: Final = {"rematrix_maxval": "1.0"}
"""As the service mixes down: full-scale stereo stays within [-1, 1]."""

Seconds = npt.NDArray[np.float64]


def read_video(video: Path) -> tuple[Seconds, Floats]:
    """The presentation time of every frame, and the sound.

    Returns: (F,) seconds, rising, and (S,) in [-1, 1], mono 16 kHz; empty without a stream.
    Raises: VideoUnreadable.
    """
    try:
        with av.open(f"file:{video}") as container:
            times = _read_times(container)
        with av.open(f"file:{video}") as container:
            return times, _read_waveform(container)
    except FFmpegError as error:
        raise VideoUnreadable(f"{video}: {error}") from error


def stretch_times(times: Seconds, rows: int, rate_hz: float) -> Seconds:
    """One time for each row: the video's, gone on at its own pace where rows are left over."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0 / rate_hz
    start = times[-1] + step if len(times) else 0.0
    more = start + step * np.arange(max(0, rows - len(times)), dtype=np.float64)
    return np.concatenate((times[:rows], more)).astype(np.float64)


def _read_times(container: InputContainer) -> Seconds:
    stream = container.streams.best("video")
    if stream is None:
        return np.zeros(0)
    base = stream.time_base or Fraction(1)
    # Timestamps alone, without decoding: B-frames come out of order, cut ones are marked.
    stamps = [
        packet.pts
        for packet in container.demux(stream)
        if packet.pts is not None and not packet.is_discard
    ]
    return np.array([float(stamp * base) for stamp in sorted(stamps)])


def _read_waveform(container: InputContainer) -> Floats:
    stream = container.streams.best("audio")
    if stream is None:
        return np.zeros(0, np.float32)
    frames = (frame for frame in container.decode(stream) if isinstance(frame, AudioFrame))
    pieces = list(_place(frames, stream.time_base or Fraction(1)))
    end = max((start + len(samples) for start, samples in pieces), default=0)
    waveform = np.zeros(max(end, 0), np.float32)
    for start, samples in pieces:
        kept = samples[max(0, -start) :]
        waveform[max(0, start) : max(0, start) + len(kept)] = kept
    return waveform


def _place(frames: Iterator[AudioFrame], base: Fraction) -> Iterator[tuple[int, Floats]]:
    """Mono 16 kHz pieces and where they start; a gap or a new format starts a new run."""
    resampler = AudioResampler("flt", "mono", SAMPLE_RATE_HZ, options=_DOWNMIX)
    layout, expected, following = ("", "", 0), 0.0, 0
    for frame in frames:
        at = expected if frame.pts is None else float(frame.pts * base * SAMPLE_RATE_HZ)
        has = (frame.format.name, frame.layout.name, frame.sample_rate)
        if has != layout or abs(at - expected) > JITTER_SAMPLES:
            if layout[0]:
                yield following, _resample(resampler, None)
            resampler = AudioResampler("flt", "mono", SAMPLE_RATE_HZ, options=_DOWNMIX)
            layout, expected, following = has, at, round(at)
        expected += frame.samples * SAMPLE_RATE_HZ / frame.sample_rate
        frame.pts = None
        samples = _resample(resampler, frame)
        yield following, samples
        following += len(samples)
    if layout[0]:
        yield following, _resample(resampler, None)


def _resample(resampler: AudioResampler, frame: AudioFrame | None) -> Floats:
    pieces = [
        resampled.to_ndarray().reshape(-1)
        for resampled in resampler.resample(frame)
        if resampled is not None  # pyright: ignore[reportUnnecessaryComparison]
    ]
    samples = np.concatenate([np.zeros(0, np.float32), *pieces]).astype(np.float32)
    return np.clip(np.nan_to_num(samples), -1.0, 1.0)
