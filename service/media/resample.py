"""Resampling of decoded audio to mono 16 kHz, placed on the time axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.media.audio_clock import (
    DISCONTINUITY_SAMPLES,
    FramePlacer,
    FramePlacerSnapshot,
    PlacedFrame,
    TimedFrame,
    read_format,
)
from service.media.audio_timestamps import TimestampReader
from service.media.downmix import Downmixer, DownmixerSnapshot

_STRETCH_PARTS: Final = 50
"""Audio is stretched by at most 2 %."""
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

    def record(self, jump: float, *, is_new_format: bool) -> None:
        """Count the transition to a run that begins `jump` samples after the last one's end."""
        self.format_changes += is_new_format
        self.overlaps += jump < -DISCONTINUITY_SAMPLES
        if jump > DISCONTINUITY_SAMPLES:
            self.gaps += 1
            self.gap_samples += jump

    def restore(self, counts: Discontinuities) -> None:
        """Continue from earlier counts."""
        self.gaps, self.gap_samples = counts.gaps, counts.gap_samples
        self.overlaps, self.format_changes = counts.overlaps, counts.format_changes


def resample_frames(
    frames: Iterable[AudioFrame], timestamps: TimestampReader, resampler: PlacedResampler
) -> Iterator[AudioSegment]:
    """Resample frames and place them by their timestamps.

    Args: frames: in decoding order; timestamps: reads their starts.
    Yields: segments of mono samples in [-1, 1].
    Raises: ValueError: invalid sample rate.
    """
    for frame in frames:
        yield from resampler.push(frame, timestamps.read(frame))
    yield from resampler.flush()


class PlacedResampler:
    """Mixes frames to one channel, places them by their timestamps, and resamples them.

    Within a run of frames that follow one another samples are counted; where timestamps leave the
    count, or the format changes, a new run starts.
    """

    def __init__(
        self,
        discontinuities: Discontinuities,
        on_resampled: Callable[[AudioFrame, bool], None] | None = None,
    ) -> None:
        """Count in `discontinuities`.

        Args: on_resampled: called with each frame before it is resampled, mixed and placed, and
            whether it is the first of a run.
        """
        self._discontinuities = discontinuities
        self._on_resampled = on_resampled
        self._downmixer = Downmixer()
        self._placer = FramePlacer()
        self._run: _ResampledRun | None = None

    @property
    def has_cancelled(self) -> bool:
        """True once channels of opposite phase have cancelled each other in their mean."""
        return self._downmixer.has_cancelled

    def push(self, frame: AudioFrame, start_sample: float | None) -> Iterator[AudioSegment]:
        """Yield the segments that the next frame completes.

        Args: start_sample: start in samples at 16 kHz; None: the end of the previous frame.
        Raises: ValueError: invalid sample rate.
        """
        if not MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ:
            raise ValueError(f"invalid sample rate: {frame.sample_rate} Hz")
        for mixed in self._downmixer.push(TimedFrame(frame=frame, start=start_sample)):
            for placed in self._placer.push(mixed):
                yield from self._resample(placed)

    def flush(self) -> Iterator[AudioSegment]:
        """Yield the rest, after the last frame was pushed."""
        for mixed in self._downmixer.flush():
            for placed in self._placer.push(mixed):
                yield from self._resample(placed)
        for placed in self._placer.flush():
            yield from self._resample(placed)
        if self._run is not None:
            yield from self._run.push(None)

    def snapshot(self) -> PlacedResamplerSnapshot:
        """Return the state, frames that are held included."""
        return PlacedResamplerSnapshot(
            run=None if self._run is None else self._run.snapshot(),
            placer=self._placer.snapshot(),
            downmixer=self._downmixer.snapshot(),
            placer_held=_store(self._placer.held),
            downmixer_held=_store(self._downmixer.held),
        )

    def restore(
        self,
        snapshot: PlacedResamplerSnapshot,
        history: AudioFrame,
        start: int,
        make_frame: Callable[[bytes, bool], AudioFrame],
    ) -> None:
        """Continue from a snapshot.

        Args: history: the last audio that was resampled; start: which sample of the run is its
            first, a multiple of `compute_phase_period` of its rate; make_frame: makes a frame of
            stored samples, True: of mixed ones.
        Raises: ValueError: the history is not of that run.
        """
        if snapshot.run is not None:
            self._run = _ResampledRun.resume(snapshot.run, history, start)
        self._placer.restore(
            snapshot.placer, _load(snapshot.placer_held, make_frame, is_mixed=True), history
        )
        self._downmixer.restore(
            snapshot.downmixer,
            _load(snapshot.downmixer_held, make_frame, is_mixed=False),
            make_frame(b"", False),
        )

    def _resample(self, placed: PlacedFrame) -> Iterator[AudioSegment]:
        frame, run = placed.frame, self._run
        if run is None or placed.begin is not None:
            if run is not None:
                yield from run.push(None)
                is_new_format = run.format != read_format(frame)
                self._discontinuities.record(placed.jump, is_new_format=is_new_format)
            run = self._run = _ResampledRun(frame, placed.begin or 0.0)
        if self._on_resampled is not None:
            self._on_resampled(frame, placed.begin is not None)
        run.stretch(placed.shift)
        yield from run.push(frame)


def compute_phase_period(rate_hz: int) -> int:
    """Input samples after which resampling to 16 kHz is back in the same phase."""
    return rate_hz // math.gcd(rate_hz, SAMPLE_RATE_HZ)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResampledRunSnapshot:
    """State of a run of frames without a gap, in samples at 16 kHz.

    origin: where it began; next_sample: of the output; stretched: samples by which the output has
    been stretched so far; to_stretch: by which it is still to be.
    """

    origin: int
    next_sample: int
    stretched: int
    to_stretch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAudio:
    """Samples of a frame that is held, and its start in samples at 16 kHz."""

    data: bytes
    start: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedResamplerSnapshot:
    """State of a PlacedResampler. run: None: there was no audio; *_held: frames that are held."""

    run: ResampledRunSnapshot | None
    placer: FramePlacerSnapshot
    downmixer: DownmixerSnapshot
    placer_held: tuple[StoredAudio, ...]
    downmixer_held: tuple[StoredAudio, ...]


class _ResampledRun:
    """Contiguous frames of one format."""

    def __init__(self, frame: AudioFrame, begin: float) -> None:
        # full-scale stereo must stay within [-1, 1]: normalise the downmix as for integers
        self._resampler = AudioResampler(
            format="flt", layout="mono", rate=SAMPLE_RATE_HZ, options={"rematrix_maxval": "1.0"}
        )
        self.format = read_format(frame)
        self._origin = self._next_sample = round(begin)
        self._stretched = self._to_stretch = 0

    @classmethod
    def resume(cls, snapshot: ResampledRunSnapshot, frame: AudioFrame, start: int) -> _ResampledRun:
        run = cls(frame, snapshot.origin)
        run._next_sample += start * SAMPLE_RATE_HZ // frame.sample_rate + snapshot.stretched
        for _ in run.push(frame):
            continue  # output from before the snapshot
        if run._next_sample != snapshot.next_sample:
            raise ValueError("audio does not continue where the snapshot was taken")
        run._stretched, run._to_stretch = snapshot.stretched, snapshot.to_stretch
        return run

    def snapshot(self) -> ResampledRunSnapshot:
        return ResampledRunSnapshot(
            origin=self._origin,
            next_sample=self._next_sample,
            stretched=self._stretched,
            to_stretch=self._to_stretch,
        )

    def stretch(self, samples: int) -> None:
        """Make the output longer by these samples, shorter if negative, from here on."""
        self._to_stretch += samples

    def push(self, frame: AudioFrame | None) -> Iterator[AudioSegment]:
        """Yield the segments of the next frame; None: flush the rest."""
        if frame is not None:
            # samples are counted here; with timestamps the filter would insert or drop some
            frame.pts = None
        for resampled in self._resampler.resample(frame):
            if resampled is None:  # pyright: ignore[reportUnnecessaryComparison]  # PyAV's stubs say never None
                continue  # flushing a pass-through resampler yields None
            samples = np.nan_to_num(resampled.to_ndarray().reshape(-1).astype(np.float32))
            samples = self._apply_stretch(np.clip(samples, -1.0, 1.0))
            yield self._next_sample, samples
            self._next_sample += len(samples)

    def _apply_stretch(self, samples: Float32Array) -> Float32Array:
        """Stretch samples by at most 2 %, towards what is still to be stretched."""
        limit = len(samples) // _STRETCH_PARTS
        change = max(-limit, min(limit, self._to_stretch))
        if not change:
            return samples
        self._to_stretch -= change
        self._stretched += change
        count = len(samples)
        places = np.arange(count + change) * (count / (count + change))
        return np.interp(places, np.arange(count), samples).astype(np.float32)


def _store(held: Iterable[TimedFrame]) -> tuple[StoredAudio, ...]:
    return tuple(
        StoredAudio(data=each.frame.to_ndarray().tobytes(), start=each.start) for each in held
    )


def _load(
    stored: Iterable[StoredAudio],
    make_frame: Callable[[bytes, bool], AudioFrame],
    *,
    is_mixed: bool,
) -> Iterator[TimedFrame]:
    for each in stored:
        yield TimedFrame(frame=make_frame(each.data, is_mixed), start=each.start)
