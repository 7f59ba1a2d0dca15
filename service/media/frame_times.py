"""Frame times: FFmpeg's best-effort timestamps, and the anomalies of their series.

Where a file's presentation times do not rise, FFmpeg's players use decoding times if those
behave better; a frame without either follows the one before it. Ported from
`guess_correct_pts` (libavcodec/decode.c) and `video_duration_estimate` (fftools/ffmpeg_dec.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import av
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.domain.media import Anomalies

_NO_TIMESTAMP: Final = -(2**63)
_ROUNDING_TICKS: Final = 2
"""Error of timestamps that were rounded twice, to different clocks."""
_ROUNDING_SHARE: Final = 0.01
_MAX_UNIT_STEP_TICKS: Final = 2
"""Maximum interval at which a frame duration of one tick is trusted."""


class FrameClock:
    """Reads the times of frames in the order of presentation, in ticks and in seconds."""

    def __init__(self, stream: VideoStream) -> None:
        self._base = stream.time_base or Fraction(1, av.time_base)
        rate = stream.guessed_rate or stream.average_rate or Fraction(25)
        self._default_ticks = max(1, round(1 / rate / self._base))
        self._chooser = _TimestampChooser()
        self._last: int | None = None
        self._step_ticks = self._default_ticks
        self._intervals = FrameIntervals()

    @property
    def step_seconds(self) -> float:
        """Display duration of the last frame read, as far as is known."""
        return float(self._step_ticks * self._base)

    def read(self, frame: VideoFrame) -> float:
        """Read the presentation time in seconds: ticks times the time base, in one division."""
        ticks = self._chooser.choose(frame.pts, frame.dts)
        self._intervals.inferred += ticks is None or (frame.pts is not None and ticks != frame.pts)
        if ticks is None:
            ticks = 0 if self._last is None else self._last + self._step_ticks
        step = None if self._last is None else ticks - self._last
        if step is not None:
            self._intervals.add(step)
        self._step_ticks = _estimate_duration_ticks(frame, step) or self._default_ticks
        self._last = ticks
        return float(ticks * self._base)

    def anomalies(self) -> Anomalies:
        """Anomalies of the times so far; all other fields are left at their defaults."""
        return self._intervals.anomalies(self._base)


def _estimate_duration_ticks(frame: VideoFrame, step: int | None) -> int | None:
    if frame.duration > 1 or (frame.duration == 1 and (step or 0) <= _MAX_UNIT_STEP_TICKS):
        return frame.duration
    return step if step is not None and step > 0 else None


class _TimestampChooser:
    """FFmpeg's choice between presentation and decoding times."""

    def __init__(self) -> None:
        self._faulty_pts = self._faulty_dts = 0
        self._last_pts = self._last_dts = _NO_TIMESTAMP

    def choose(self, pts: int | None, dts: int | None) -> int | None:
        if dts is not None:
            self._faulty_dts += dts <= self._last_dts
            self._last_dts = dts
        elif pts is not None:
            self._last_dts = pts
        if pts is not None:
            self._faulty_pts += pts <= self._last_pts
            self._last_pts = pts
        elif dts is not None:
            self._last_pts = dts
        if pts is not None and (self._faulty_pts <= self._faulty_dts or dts is None):
            return pts
        return dts


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameIntervalsSnapshot:
    """State of FrameIntervals. shortest, longest: of the positive ones, ticks."""

    inferred: int
    repeated: int
    backward: int
    shortest: int | None
    longest: int


class FrameIntervals:
    """Statistics of the differences between consecutive times, in ticks."""

    def __init__(self) -> None:
        self.inferred = self._repeated = self._backward = 0
        self._shortest: int | None = None
        self._longest = 0

    def snapshot(self) -> FrameIntervalsSnapshot:
        """Return the counts so far."""
        return FrameIntervalsSnapshot(
            inferred=self.inferred,
            repeated=self._repeated,
            backward=self._backward,
            shortest=self._shortest,
            longest=self._longest,
        )

    def restore(self, snapshot: FrameIntervalsSnapshot) -> None:
        """Continue from a snapshot."""
        self.inferred = snapshot.inferred
        self._repeated, self._backward = snapshot.repeated, snapshot.backward
        self._shortest, self._longest = snapshot.shortest, snapshot.longest

    def add(self, step: int) -> None:
        """Count the next interval."""
        self._repeated += step == 0
        self._backward += step < 0
        if step > 0:
            self._shortest = step if self._shortest is None else min(self._shortest, step)
            self._longest = max(self._longest, step)

    def anomalies(self, base: Fraction) -> Anomalies:
        """Anomalies of the times; `base`: seconds of a tick."""
        shortest, longest = self._shortest, self._longest
        return Anomalies(
            variable_rate=shortest is not None and _is_variable(shortest, longest),
            shortest_step_seconds=None if shortest is None else float(shortest * base),
            longest_step_seconds=None if shortest is None else float(longest * base),
            times_inferred=self.inferred,
            times_repeated=self._repeated,
            times_backward=self._backward,
        )


def _is_variable(shortest: int, longest: int) -> bool:
    """Check whether steps differ by more than rounding to ticks explains."""
    rounding = max(_ROUNDING_TICKS, _ROUNDING_SHARE * shortest)
    return longest - shortest > rounding or 2 * longest > 3 * shortest
