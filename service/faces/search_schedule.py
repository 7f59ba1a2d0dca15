"""Schedule of the search for faces, in seconds of the media.

The whole picture is searched at once: for a moment after the start, a cut and every face that came
or went in every picture, or in every second one while faces are followed, then at growing
intervals. The tiles of a thorough search are spread over several pictures, so that no picture costs
much more than another; only at the start all of them are searched in one. Pictures that are far
apart are all searched thoroughly.
"""

from __future__ import annotations

import math
from typing import Final

from service.faces.detections import SearchScheduleSnapshot

ASSUMED_RATE_HZ: Final = 25
"""Rate of pictures whose times are not known."""
SETTLE_SECONDS: Final = 0.25
"""Time after an event for which the picture is searched often."""
SETTLE_INTERVAL_SECONDS: Final = 0.06
"""Least interval between two searches of the whole picture while faces are followed."""
MAX_DETECTION_SECONDS: Final = 0.5
"""Limit of the interval from one search of the whole picture to the next."""
SWEEP_SECONDS: Final = 1.0
"""Time over which the tiles of a thorough search are spread."""
CUT_SWEEP_SECONDS: Final = 0.5
"""The same after a cut."""
MIN_PAUSE_SECONDS: Final = 1.0
MAX_PAUSE_SECONDS: Final = 4.0
MAX_FACELESS_PAUSE_SECONDS: Final = 2.0
"""Limits of the pause between two thorough searches; it grows with the time since an event."""
LOW_RATE_SECONDS: Final = 0.5
"""Pictures that are further apart are all searched thoroughly."""
LOST_FACE_SECONDS: Final = 1.0
"""Time for which a lost face is looked for where it was."""
_DECIMALS: Final = 3
"""Times are rounded: those of a clip's frames differ in the last digits by where they come from."""
_TOLERANCE: Final = 1e-4


class SearchSchedule:
    """Searches of one clip: call `advance` for each picture, then the others."""

    def __init__(self) -> None:
        self._time_seconds: float | None = None
        self._event_seconds = 0.0
        self._detected_seconds = 0.0
        self._swept_seconds = 0.0
        self._sweep_seconds = SWEEP_SECONDS
        self._next_tile = 0
        self._tiles_left: int | None = 0
        """Tiles of the thorough search under way; None: all of them."""
        self._elapsed_seconds = 0.0
        """Time since the picture before; infinite at the first."""

    def advance(self, time_seconds: float | None) -> float:
        """Go to the next picture; return its time. None: the time is not known.

        Times that go back are a new start.
        """
        last = self._time_seconds
        if time_seconds is None:
            time_seconds = 0.0 if last is None else last + 1 / ASSUMED_RATE_HZ
        time_seconds = round(time_seconds, _DECIMALS)
        if last is None or time_seconds < last:
            self._elapsed_seconds = math.inf
            self._event_seconds = self._detected_seconds = self._swept_seconds = time_seconds
            self._tiles_left = None
        else:
            self._elapsed_seconds = time_seconds - last
        self._time_seconds = time_seconds
        return time_seconds

    def restart(self, *, is_cut: bool = False) -> None:
        """Search in this picture and often after it; after a cut, thoroughly."""
        self._event_seconds = self._time_seconds or 0.0
        if is_cut:
            self._tiles_left, self._sweep_seconds = None, CUT_SWEEP_SECONDS

    @property
    def is_settling(self) -> bool:
        """True for a moment after an event, while the picture is searched often."""
        return (self._time_seconds or 0.0) - self._event_seconds <= SETTLE_SECONDS

    def take_detection(self, *, has_faces: bool) -> bool:
        """Return whether a search of the whole picture is due. has_faces: some are followed."""
        now = self._time_seconds or 0.0
        settled = now - self._event_seconds - SETTLE_SECONDS
        shortest = SETTLE_INTERVAL_SECONDS if has_faces and now > self._event_seconds else 0.0
        interval = min(max(settled / 2, shortest), MAX_DETECTION_SECONDS)
        is_due = now - self._detected_seconds >= interval - _TOLERANCE
        if is_due:
            self._detected_seconds = now
        return is_due

    def take_tiles(self, count: int, *, has_faces: bool) -> list[int]:
        """Return the tiles of this picture, of `count`."""
        if self._tiles_left == 0 and self._is_sweep_due(has_faces):
            self._tiles_left, self._sweep_seconds = None, SWEEP_SECONDS
        left = count if self._tiles_left is None else min(self._tiles_left, count)
        is_low_rate = self._elapsed_seconds >= LOW_RATE_SECONDS - _TOLERANCE
        share = 1.0 if is_low_rate else self._elapsed_seconds / self._sweep_seconds
        taken = min(left, max(1, math.ceil(count * share - _TOLERANCE)))
        tiles = [(self._next_tile + each) % count for each in range(taken)]
        if taken:
            self._next_tile = (self._next_tile + taken) % count
            self._swept_seconds = self._time_seconds or 0.0
        self._tiles_left = left - taken
        return tiles

    def snapshot(self) -> SearchScheduleSnapshot:
        """Return the state."""
        return SearchScheduleSnapshot(
            time_seconds=self._time_seconds,
            event_seconds=self._event_seconds,
            detected_seconds=self._detected_seconds,
            swept_seconds=self._swept_seconds,
            sweep_seconds=self._sweep_seconds,
            next_tile=self._next_tile,
            tiles_left=self._tiles_left,
        )

    def restore(self, snapshot: SearchScheduleSnapshot) -> None:
        """Continue from a snapshot."""
        self._time_seconds = snapshot.time_seconds
        self._event_seconds = snapshot.event_seconds
        self._detected_seconds = snapshot.detected_seconds
        self._swept_seconds = snapshot.swept_seconds
        self._sweep_seconds = snapshot.sweep_seconds
        self._next_tile, self._tiles_left = snapshot.next_tile, snapshot.tiles_left

    def _is_sweep_due(self, has_faces: bool) -> bool:
        now = self._time_seconds or 0.0
        longest = MAX_PAUSE_SECONDS if has_faces else MAX_FACELESS_PAUSE_SECONDS
        pause = min(max(now - self._event_seconds, MIN_PAUSE_SECONDS), longest)
        is_low_rate = self._elapsed_seconds >= LOW_RATE_SECONDS - _TOLERANCE
        return is_low_rate or now - self._swept_seconds >= pause - _TOLERANCE
