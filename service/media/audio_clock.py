"""Placement of audio frames on the time axis: gaps and overlaps apart from jitter and drift.

Samples of consecutive frames follow one another. Their timestamps may jitter around that count
(codecs with blocks of two sizes, several packets a chunk), drift from it, or leave it for good
where audio is missing. Only what follows tells which: frames whose timestamps stray are held back
until the timestamps return, or have stayed away.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from av.audio.frame import AudioFrame

from service.domain.audio_grid import SAMPLE_RATE_HZ

JITTER_SAMPLES: Final = SAMPLE_RATE_HZ // 200
"""A timestamp may stray 5 ms (containers round to 1 ms) without being looked into."""
DRIFT_SAMPLES: Final = SAMPLE_RATE_HZ // 400
"""Timestamps may stray 2.5 ms on average, or as far as they jitter, over about `_DRIFT_FRAMES`
frames; where they jitter, over `_JITTER_FRAMES`."""
DISCONTINUITY_SAMPLES: Final = SAMPLE_RATE_HZ // 80
"""Audio whose timestamps leave the count by more than 12.5 ms has a gap or an overlap there; by
less, it is stretched: a lost packet is 20 ms and more, the jitter of Vorbis 10 ms."""
_DRIFT_FRAMES: Final = 8
_JITTER_FRAMES: Final = 64
_SPREAD_FRAMES: Final = 16
_HELD_SAMPLES: Final = SAMPLE_RATE_HZ // 2
_MAX_HELD_SAMPLES: Final = SAMPLE_RATE_HZ
"""Longest wait for timestamps to return, if they agree on where they are, and if they do not."""
_HELD_STAMPS: Final = 4
MAX_HELD_FRAMES: Final = 256
_FOLLOWED_SAMPLES: Final = 4 * SAMPLE_RATE_HZ
"""Time constant: a jump that undoes a recent drift, as of chunks of packets, is no gap."""
_START_SAMPLES: Final = SAMPLE_RATE_HZ // 20
_MAX_START_ERROR: Final = 15 * SAMPLE_RATE_HZ // 1000
"""The first timestamp of a run may be wrong by 15 ms, as the next 50 ms of audio tell."""
_MAX_FIRST_ERROR: Final = SAMPLE_RATE_HZ // 4
"""The very first may be early by 250 ms: FFmpeg's fragmented MP4 holds the start of the audio back
with the reordered pictures, but not its first packet."""
_MAX_END_JITTER: Final = SAMPLE_RATE_HZ // 33
"""At the end, where nothing follows that could tell, timestamps that stray by 30 ms are jitter."""
_MAX_AVERAGED: Final = SAMPLE_RATE_HZ // 20
"""A timestamp that strays by more than 50 ms and returns is wrong, and left out of the average."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedFrame:
    """A frame and its start in samples at 16 kHz; None: it follows the previous one."""

    frame: AudioFrame
    start: float | None

    @property
    def duration(self) -> float:
        """Duration in samples at 16 kHz."""
        return self.frame.samples * SAMPLE_RATE_HZ / self.frame.sample_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedFrame:
    """A frame on the time axis, in samples at 16 kHz.

    begin: start of a run of contiguous frames; None: it continues the run. jump: samples from the
    end of the previous run to `begin`; shift: samples by which the run is to be stretched.
    """

    frame: AudioFrame
    begin: float | None = None
    jump: float = 0.0
    shift: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePlacerSnapshot:
    """State of a FramePlacer without the frames that it holds; see its attributes."""

    end: float | None
    drift: float
    spread: float
    followed: float


class FramePlacer:
    """Places frames by their timestamps.

    end: of the frames placed so far. drift: mean deviation of timestamps from the count; spread:
    their mean absolute deviation from that; followed: samples by which the run was stretched to
    follow drifts, of late. held: frames that are not placed yet.
    """

    def __init__(self) -> None:
        self.held: deque[TimedFrame] = deque()
        self._end: float | None = None
        self._drift = 0.0
        self._spread = 0.0
        self._followed = 0.0
        self._format: tuple[str, str, int] | None = None

    def push(self, timed: TimedFrame) -> Iterator[PlacedFrame]:
        """Yield the frames that the next one allows to place, in order."""
        if self.held and read_format(self.held[-1].frame) != read_format(timed.frame):
            yield from self.flush()
        self.held.append(timed)
        yield from self._place(is_last=False)

    def flush(self) -> Iterator[PlacedFrame]:
        """Yield the frames that are held."""
        yield from self._place(is_last=True)

    def snapshot(self) -> FramePlacerSnapshot:
        """Return the state without the frames that are held."""
        return FramePlacerSnapshot(
            end=self._end, drift=self._drift, spread=self._spread, followed=self._followed
        )

    def restore(
        self, snapshot: FramePlacerSnapshot, held: Iterable[TimedFrame], like: AudioFrame
    ) -> None:
        """Continue from a snapshot, with the frames that were held and one like the last placed."""
        self._end, self._followed = snapshot.end, snapshot.followed
        self._drift, self._spread = snapshot.drift, snapshot.spread
        self._format = None if snapshot.end is None else read_format(like)
        self.held.extend(held)

    def _place(self, *, is_last: bool) -> Iterator[PlacedFrame]:
        while self.held:
            end = self._end
            if end is None or read_format(self.held[0].frame) != self._format:
                if not is_last and not self._is_start_held():
                    return
                yield self._begin_run()
                continue
            deviations = self._measure_deviations(end)
            straying = self._count_straying(deviations)
            if straying == 0:
                yield self._continue_run(deviations[0])
            elif straying < len(deviations):  # they have returned
                for deviation in deviations[:straying]:
                    yield self._continue_run(deviation)
            elif self._have_left(deviations, is_last=is_last):
                yield self._follow_jump(deviations[0] or 0.0)
            elif near := self._count_before_jump(deviations, is_last=is_last):
                for deviation in deviations[:near]:
                    yield self._continue_run(deviation)
            elif is_last or self._have_held(_MAX_HELD_SAMPLES):
                for deviation in deviations:
                    yield self._continue_run(deviation)
            else:
                return

    def _measure_deviations(self, end: float) -> list[float | None]:
        """Measure how far the timestamps of the held frames are from the count."""
        deviations: list[float | None] = []
        for timed in self.held:
            deviations.append(None if timed.start is None else timed.start - end)
            end += timed.duration
        return deviations

    @staticmethod
    def _count_straying(deviations: Sequence[float | None]) -> int:
        """Count the frames before the first whose timestamp is near the count, or across it."""
        first = next((each for each in deviations if each is not None), 0.0)
        if deviations[0] is None:
            return 0
        for place, each in enumerate(deviations):
            if each is not None and (abs(each) <= JITTER_SAMPLES or each * first < 0):
                return place
        return len(deviations)

    def _have_left(self, deviations: Sequence[float | None], *, is_last: bool) -> bool:
        """Check whether the timestamps of the held frames will not return to the count.

        They have left it if they agree, if they are all further away than they are from one
        another, or if they go on leaving.
        """
        stamps = [each for each in deviations if each is not None]
        if len(stamps) < _HELD_STAMPS:
            far = max(_MAX_END_JITTER, 4 * self._spread)
            return abs(stamps[0]) > far if is_last else self._have_held(_MAX_HELD_SAMPLES)
        if not is_last and not self._have_held(_HELD_SAMPLES):
            return False
        first, spread = stamps[:_HELD_STAMPS], max(stamps) - min(stamps)
        if max(first) - min(first) <= JITTER_SAMPLES or abs(statistics.median(stamps)) > spread:
            return True
        part = max(1, len(stamps) // 3)
        change = statistics.median(stamps[-part:]) - statistics.median(stamps[:part])
        is_known = is_last or self._have_held(_MAX_HELD_SAMPLES)
        return is_known and abs(change) > spread / 4

    def _count_before_jump(self, deviations: Sequence[float | None], *, is_last: bool) -> int:
        """Count the frames that jitter before those whose timestamps have left the count."""
        for place, each in enumerate(deviations):
            if each is not None and abs(each) > DISCONTINUITY_SAMPLES:
                return place if self._have_left(deviations[place:], is_last=is_last) else 0
        return 0

    def _have_held(self, samples: int) -> bool:
        """Check whether frames of so many samples are held, or as many frames as may be."""
        return len(self.held) >= MAX_HELD_FRAMES or (
            sum(timed.duration for timed in self.held) >= samples
        )

    def _is_start_held(self) -> bool:
        """Check whether enough frames are held to tell where a run begins."""
        is_first = self._end is None and len(self.held) < _HELD_STAMPS
        return self._have_held(_START_SAMPLES) and not is_first

    def _begin_run(self) -> PlacedFrame:
        begin = self._read_start()
        jump = 0.0 if self._end is None else begin - self._end
        self._drift = self._followed = 0.0
        timed = self.held.popleft()
        self._format = read_format(timed.frame)
        self._end = begin + timed.duration
        return PlacedFrame(frame=timed.frame, begin=begin, jump=jump)

    def _read_start(self) -> float:
        """Read where the held frames begin: at the first timestamp unless the others disagree."""
        first = self.held[0].start
        if first is None:
            return 0.0 if self._end is None else self._end
        later = [each for each in self._measure_deviations(first)[1:] if each is not None]
        error = statistics.median(later) if later else 0.0
        if later:
            self._spread = statistics.median(abs(each - error) for each in later)
        agree = all(abs(each - error) <= JITTER_SAMPLES for each in later)
        is_wrong = JITTER_SAMPLES < abs(error) <= _MAX_START_ERROR and len(later) > 1
        is_first_early = self._end is None and JITTER_SAMPLES < error <= _MAX_FIRST_ERROR
        is_wrong |= is_first_early and len(later) >= _HELD_STAMPS - 1
        return first + error if agree and is_wrong else first

    def _follow_jump(self, deviation: float) -> PlacedFrame:
        """Place the first held frame where the timestamps have gone to."""
        is_return = deviation * self._followed < 0 and abs(deviation) <= (
            abs(self._followed) + DISCONTINUITY_SAMPLES
        )
        if is_return or abs(deviation) <= DISCONTINUITY_SAMPLES:
            return self._continue_run(None, round(deviation))
        return self._begin_run()

    def _continue_run(self, deviation: float | None, shift: int = 0) -> PlacedFrame:
        """Place the first held frame at the end of the run, which follows a drift."""
        if deviation is not None and abs(deviation) <= _MAX_AVERAGED:
            is_calm = self._spread < DRIFT_SAMPLES
            frames = _DRIFT_FRAMES if is_calm else _JITTER_FRAMES
            self._drift += (deviation - self._drift) / frames
            self._spread += (abs(deviation - self._drift) - self._spread) / _SPREAD_FRAMES
            if abs(self._drift) > max(DRIFT_SAMPLES, self._spread):
                shift = round(deviation if is_calm else self._drift)
        if shift:
            self._drift = 0.0
        timed = self.held.popleft()
        self._followed += shift - self._followed * min(1.0, timed.duration / _FOLLOWED_SAMPLES)
        self._end = (self._end or 0.0) + shift + timed.duration
        return PlacedFrame(frame=timed.frame, shift=shift)


def read_format(frame: AudioFrame) -> tuple[str, str, int]:
    """Read a frame's sample format, channel layout and sample rate."""
    return frame.format.name, frame.layout.name, frame.sample_rate
