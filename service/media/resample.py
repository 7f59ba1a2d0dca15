"""Resampling of decoded audio to mono 16 kHz, placed on the time axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ

JITTER_SAMPLES: Final = SAMPLE_RATE_HZ // 200
"""A timestamp may stray 5 ms (containers round to 1 ms) before audio is moved to it."""
DRIFT_SAMPLES: Final = SAMPLE_RATE_HZ // 400
"""Timestamps may stray 2.5 ms on average over about `_DRIFT_FRAMES` frames."""
_DRIFT_FRAMES: Final = 16
DISCONTINUITY_SAMPLES: Final = SAMPLE_RATE_HZ // 100
"""Audio that is moved by more than 10 ms has a gap or an overlap there."""

MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 768_000
"""Rates outside occur only in damaged headers, and would cost gigabytes or minutes."""

AudioSegment = tuple[int, Float32Array]
"""Ordinal of the first sample (n is at n / 16000 seconds), and the samples from there."""


@dataclass(slots=True)
class Discontinuities:
    """Counts of places where audio is not continuous."""

    gaps: int = 0
    gap_samples: float = 0.0
    overlaps: int = 0
    format_changes: int = 0

    def record(self, before: _ResampledRun, frame: AudioFrame, begin: float) -> None:
        """Count the transition from a run to the frame that begins the next one."""
        jump = begin - before.expected
        self.format_changes += before.format != _format_key(frame)
        self.overlaps += jump < -DISCONTINUITY_SAMPLES
        if jump > DISCONTINUITY_SAMPLES:
            self.gaps += 1
            self.gap_samples += jump

    def restore(self, counts: Discontinuities) -> None:
        """Continue from earlier counts."""
        self.gaps, self.gap_samples = counts.gaps, counts.gap_samples
        self.overlaps, self.format_changes = counts.overlaps, counts.format_changes


class TimestampReader:
    """Reads the start times of audio frames."""

    def __init__(self, time_base: Fraction, declared_hz: int) -> None:
        """time_base: seconds of a pts tick; declared_hz: the sample rate the demuxer counts by."""
        self._base = time_base
        self._declared_hz = declared_hz
        self._predicted_pts: int | None = None

    def read(self, frame: AudioFrame) -> float | None:
        """Start in samples at 16 kHz; None: no timestamp, or one extrapolated wrongly.

        Between the timestamps of a transport stream FFmpeg's demuxer extrapolates by the initial
        sample rate, even when that has changed.
        """
        if frame.pts is None:
            return None
        is_prediction = (
            frame.sample_rate != self._declared_hz
            and self._predicted_pts is not None
            and abs(frame.pts - self._predicted_pts) <= 1
        )
        self._predicted_pts = frame.pts + round(frame.samples / self._declared_hz / self._base)
        return None if is_prediction else float(frame.pts * self._base * SAMPLE_RATE_HZ)


def resample_frames(
    frames: Iterable[AudioFrame], timestamps: TimestampReader, discontinuities: Discontinuities
) -> Iterator[AudioSegment]:
    """Resample frames and place them by their timestamps.

    Within a run of frames that follow one another samples are counted; where timestamps leave the
    count, one by 5 ms or many by 2.5 ms, or the format changes, a new run starts at them.

    Args: frames: in decoding order; timestamps: reads their starts; discontinuities: updated.
    Yields: segments of mono samples in [-1, 1].
    Raises: ValueError: invalid sample rate.
    """
    placer = PlacedResampler(discontinuities)
    for frame in frames:
        yield from placer.push(frame, timestamps.read(frame))
    yield from placer.flush()


class PlacedResampler:
    """Resamples frames one by one and places them by their timestamps.

    run_count: runs of contiguous frames so far.
    """

    def __init__(self, discontinuities: Discontinuities) -> None:
        self._discontinuities = discontinuities
        self._run: _ResampledRun | None = None
        self.run_count = 0

    def push(self, frame: AudioFrame, start_sample: float | None) -> Iterator[AudioSegment]:
        """Yield the segments that the next frame completes.

        Args: start_sample: start in samples at 16 kHz; None: the end of the previous frame.
        Raises: ValueError: invalid sample rate.
        """
        run = self._run
        if run is None or not run.continues_with(frame, start_sample):
            begin = (
                start_sample
                if start_sample is not None
                else (run.expected if run is not None else 0.0)
            )
            if run is not None:
                yield from run.push(None)
                self._discontinuities.record(run, frame, begin)
            run = self._run = _ResampledRun(frame, begin)
            self.run_count += 1
        yield from run.push(frame)

    def flush(self) -> Iterator[AudioSegment]:
        """Yield the rest, after the last frame was pushed."""
        if self._run is not None:
            yield from self._run.push(None)

    def snapshot(self) -> ResampledRunSnapshot | None:
        """Return the state of the present run; None: there was no audio."""
        return None if self._run is None else self._run.snapshot()

    def restore(self, snapshot: ResampledRunSnapshot, frame: AudioFrame, start: int) -> None:
        """Continue a run from a snapshot.

        Args: frame: the last of its audio; start: which sample of the run is the frame's first,
            a multiple of `compute_phase_period` of its rate.
        Raises: ValueError: the frame is not of that run.
        """
        self._run = _ResampledRun.resume(snapshot, frame, start)


def compute_phase_period(rate_hz: int) -> int:
    """Input samples after which resampling to 16 kHz is back in the same phase."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampledRunSnapshot:
    """State of a run of frames without a gap, in samples at 16 kHz.

    origin: where it began; expected: where the next frame should begin; drift: mean deviation of
    timestamps from the count; next_sample: of the output.
    """

    origin: int
    expected: float
    drift: float
    next_sample: int


class _ResampledRun:
    """Contiguous frames of one format."""

    def __init__(self, frame: AudioFrame, begin: float) -> None:
        if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
            raise ValueError(f"invalid sample rate: {frame.sample_rate} Hz")
        # full-scale stereo must stay within [-1, 1]: normalise the downmix as for integers
        self._resampler = AudioResampler(
            format="flt", layout="mono", rate=SAMPLE_RATE_HZ, options={"rematrix_maxval": "1.0"}
        )
        self.format = _format_key(frame)
        self.expected = begin
        self._drift = 0.0
        self._origin = self._next_sample = round(begin)

    @classmethod
    def resume(cls, snapshot: ResampledRunSnapshot, frame: AudioFrame, start: int) -> _ResampledRun:
        run = cls(frame, snapshot.origin)
        run._next_sample += start * SAMPLE_RATE_HZ // frame.sample_rate
        for _ in run.push(frame):
            continue  # output from before the snapshot
        if run._next_sample != snapshot.next_sample:
            raise ValueError("audio does not continue where the snapshot was taken")
        run.expected, run._drift = snapshot.expected, snapshot.drift
        return run

    def snapshot(self) -> ResampledRunSnapshot:
        return ResampledRunSnapshot(
            origin=self._origin,
            expected=self.expected,
            drift=self._drift,
            next_sample=self._next_sample,
        )

    def continues_with(self, frame: AudioFrame, start_sample: float | None) -> bool:
        """Check whether the frame continues the run; start_sample: by its own timestamp."""
        if _format_key(frame) != self.format:
            return False
        if start_sample is None:
            return True
        deviation = start_sample - self.expected
        self._drift += (deviation - self._drift) / _DRIFT_FRAMES
        return abs(deviation) <= JITTER_SAMPLES and abs(self._drift) <= DRIFT_SAMPLES

    def push(self, frame: AudioFrame | None) -> Iterator[AudioSegment]:
        """Yield the segments of the next frame; None: flush the rest."""
        if frame is not None:
            self.expected += frame.samples * SAMPLE_RATE_HZ / frame.sample_rate
            # samples are counted here; with timestamps the filter would insert or drop some
            frame.pts = None
        for resampled in self._resampler.resample(frame):
            if resampled is None:  # pyright: ignore[reportUnnecessaryComparison]  # PyAV's stubs say never None
                continue  # flushing a pass-through resampler yields None
            samples = np.nan_to_num(resampled.to_ndarray().reshape(-1).astype(np.float32))
            yield self._next_sample, np.clip(samples, -1.0, 1.0)
            self._next_sample += len(samples)


def _format_key(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
