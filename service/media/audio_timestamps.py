"""Start times of audio frames, as their container has them."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from av.audio.frame import AudioFrame

from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.media.audio_clock import JITTER_SAMPLES

_MIN_COUNTED_GAP: Final = SAMPLE_RATE_HZ // 10
"""Chunks left out in a container without timestamps: 0.1 s and more."""


class TimestampReader:
    """Reads the start times of audio frames."""

    def __init__(self, time_base: Fraction, declared_hz: int, *, is_counted: bool = False) -> None:
        """Read timestamps.

        Args: time_base: seconds of a pts tick; declared_hz: the sample rate the demuxer counts by;
            is_counted: the container (AVI) has no timestamps, they are counts of chunks or bytes.
        """
        self._base = time_base
        self._declared_hz = declared_hz
        self._is_counted = is_counted
        self._predicted_pts: int | None = None
        self._counted = _CountedClock()

    def read(self, frame: AudioFrame) -> float | None:
        """Start in samples at 16 kHz; None: no timestamp, or one extrapolated wrongly.

        Between the timestamps of a transport stream FFmpeg's demuxer extrapolates by the initial
        sample rate, even when that has changed.
        """
        if self._is_counted:
            start = None if frame.pts is None else float(frame.pts * self._base * SAMPLE_RATE_HZ)
            return self._counted.read(start, frame.samples * SAMPLE_RATE_HZ / frame.sample_rate)
        if frame.pts is None:
            return None
        is_prediction = (
            frame.sample_rate != self._declared_hz
            and self._predicted_pts is not None
            and abs(frame.pts - self._predicted_pts) <= 1
        )
        self._predicted_pts = frame.pts + round(frame.samples / self._declared_hz / self._base)
        return None if is_prediction else float(frame.pts * self._base * SAMPLE_RATE_HZ)


class _CountedClock:
    """Clock of a container without timestamps, whose counts of chunks or bytes stand for them.

    A chunk may hold several packets, or a variable bit rate be declared as constant. That shows
    where there are more samples than the counts allow for: audio then follows on, unless chunks are
    left out.
    """

    def __init__(self) -> None:
        self._is_wrong = False
        self._end = 0.0
        self._last_start: float | None = None
        self._since_start = 0.0

    def read(self, start: float | None, duration: float) -> float | None:
        """Read where a frame starts, from its start by the container; all in samples."""
        if start is not None:
            if self._last_start is None:
                self._end = start
            else:
                missing = start - self._last_start - self._since_start
                self._end += missing if missing > _MIN_COUNTED_GAP else 0.0
                self._is_wrong |= missing < -JITTER_SAMPLES
            self._last_start, self._since_start = start, 0.0
        self._since_start += duration
        begin, self._end = self._end, self._end + duration
        return begin if self._is_wrong else start
