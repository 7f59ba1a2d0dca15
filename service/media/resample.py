"""Decoded sound to mono 16 kHz samples that know their place in time."""

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
from service.domain.snapshot_codec import State

JITTER_SAMPLES: Final = SAMPLE_RATE_HZ // 200
"""A timestamp may stray 5 ms (containers round them to 1 ms) before sound is moved to it."""
DRIFT_SAMPLES: Final = SAMPLE_RATE_HZ // 400
"""Timestamps may stray 2.5 ms on average, over some `_DRIFT_FRAMES`."""
_DRIFT_FRAMES: Final = 16
DISCONTINUITY_SAMPLES: Final = SAMPLE_RATE_HZ // 100
"""Sound that is moved by more than 10 ms has a gap or an overlap there."""

MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 768_000
"""Beyond these there is no sound, only headers that make a resampler of gigabytes or minutes."""

AudioSegment = tuple[int, Float32Array]
"""The ordinal of a first sample, n at n / 16000 seconds, and the samples from there."""


@dataclass(slots=True)
class Discontinuities:
    """Where sound did not follow on, so far."""

    gaps: int = 0
    gap_samples: float = 0.0
    overlaps: int = 0
    format_changes: int = 0

    def record(self, before: _ResampledRun, frame: AudioFrame, begin: float) -> None:
        """Count the place where a frame that begins a run follows on an earlier run."""
        jump = begin - before.expected
        self.format_changes += before.format != _format_key(frame)
        self.overlaps += jump < -DISCONTINUITY_SAMPLES
        if jump > DISCONTINUITY_SAMPLES:
            self.gaps += 1
            self.gap_samples += jump


class TimestampReader:
    """Reads where frames say that they begin."""

    def __init__(self, time_base: Fraction, declared_hz: int) -> None:
        """time_base: seconds of one pts tick; declared_hz: the rate that the demuxer counts by."""
        self._base = time_base
        self._declared_hz = declared_hz
        self._predicted_pts: int | None = None

    def read(self, frame: AudioFrame) -> float | None:
        """In samples at 16 kHz; None: there is no timestamp, or the demuxer made it up wrongly.

        Between the timestamps of a transport stream FFmpeg's demuxer counts on by the rate that
        the stream began with, even when that has changed.
        """
        if frame.pts is None:
            return None
        made_up = (
            frame.sample_rate != self._declared_hz
            and self._predicted_pts is not None
            and abs(frame.pts - self._predicted_pts) <= 1
        )
        self._predicted_pts = frame.pts + round(frame.samples / self._declared_hz / self._base)
        return None if made_up else float(frame.pts * self._base * SAMPLE_RATE_HZ)


def resample_frames(
    frames: Iterable[AudioFrame], timestamps: TimestampReader, discontinuities: Discontinuities
) -> Iterator[AudioSegment]:
    """Resample frames and place them by their timestamps.

    Within a run of frames that follow one another samples are counted; where timestamps leave the
    count, one by 5 ms or many by 2.5 ms, or the format changes, a new run starts at them.

    Args: frames: in decoding order; stamps: reads their timestamps; seams: written.
    Yields: pieces of mono samples in [-1, 1].
    Raises: ValueError: no sound has such a sample rate.
    """
    placer = PlacedResampler(discontinuities)
    for frame in frames:
        yield from placer.push(frame, timestamps.read(frame))
    yield from placer.flush()


class PlacedResampler:
    """Resamples frames one by one, and places them where they say that they begin.

    runs: how many runs of frames that follow one another there were.
    """

    def __init__(self, discontinuities: Discontinuities) -> None:
        self._discontinuities = discontinuities
        self._run: _ResampledRun | None = None
        self.run_count = 0

    def push(self, frame: AudioFrame, start_sample: float | None) -> Iterator[AudioSegment]:
        """The pieces that the next frame completes.

        Args: at: where it begins, in samples at 16 kHz; None: where the one before it ended.
        Raises: ValueError: no sound has such a sample rate.
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
        """The rest, once the last frame was pushed."""
        if self._run is not None:
            yield from self._run.push(None)

    def save(self) -> State | None:
        """Where the present run is; None: no sound has come."""
        return None if self._run is None else self._run.save()

    def restore(self, state: State, frame: AudioFrame, start: int) -> None:
        """Go on with a run that was saved.

        Args: frame: the last of its sound; start: which sample of the run is the frame's first,
            a multiple of `unit_of` its rate.
        Raises: ValueError: the frame is not of that run.
        """
        self._run = _ResampledRun.resume(state, frame, start)


def compute_phase_period(rate_hz: int) -> int:
    """The samples after which resampling to 16 kHz is back in the same phase."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE_HZ)


class _ResampledRun:
    """Frames of one format without a gap."""

    def __init__(self, frame: AudioFrame, begin: float) -> None:
        if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
            raise ValueError(f"no sound has {frame.sample_rate} samples a second")
        # full-scale stereo must stay within [-1, 1]: normalise the downmix as integers have it
        self._resampler = AudioResampler(
            format="flt", layout="mono", rate=SAMPLE_RATE_HZ, options={"rematrix_maxval": "1.0"}
        )
        self.format = _format_key(frame)
        self.expected = begin
        self._drift = 0.0
        self._origin = self._next_sample = round(begin)

    @staticmethod
    def resume(state: State, frame: AudioFrame, start: int) -> _ResampledRun:
        run = _ResampledRun(frame, state["origin"])
        run._next_sample += start * SAMPLE_RATE_HZ // frame.sample_rate
        for _ in run.push(frame):
            continue  # what came of it before the run was saved
        if run._next_sample != state["next_sample"]:
            raise ValueError("sound does not go on where it was left")
        run.expected, run._drift = state["expected"], state["drift"]
        return run

    def save(self) -> State:
        return {
            "origin": self._origin,
            "expected": self.expected,
            "drift": self._drift,
            "next_sample": self._next_sample,
        }

    def continues_with(self, frame: AudioFrame, start_sample: float | None) -> bool:
        """Whether the frame follows on, `at` being its own idea of its place in samples."""
        if _format_key(frame) != self.format:
            return False
        if start_sample is None:
            return True
        astray = start_sample - self.expected
        self._drift += (astray - self._drift) / _DRIFT_FRAMES
        return abs(astray) <= JITTER_SAMPLES and abs(self._drift) <= DRIFT_SAMPLES

    def push(self, frame: AudioFrame | None) -> Iterator[AudioSegment]:
        """Resample the next frame; None: the rest."""
        if frame is not None:
            self.expected += frame.samples * SAMPLE_RATE_HZ / frame.sample_rate
            # places are counted here; timestamps would only make the filter second-guess them
            frame.pts = None
        for resampled in self._resampler.resample(frame):
            if resampled is None:  # pyright: ignore[reportUnnecessaryComparison]
                continue  # what flushing a pass-through yields
            samples = np.nan_to_num(resampled.to_ndarray().reshape(-1).astype(np.float32))
            yield self._next_sample, np.clip(samples, -1.0, 1.0)
            self._next_sample += len(samples)


def _format_key(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate
