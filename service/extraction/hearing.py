"""Frames that wait for their sound: a frame's patch is complete a second after the frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from service.domain.live import Heard
from service.domain.state import State
from service.domain.time import HOP_SAMPLES, SAMPLE_RATE_HZ
from service.media.patches import PATCH_SPAN_HOPS, cut_patches
from service.media.resample import Piece
from service.media.track import KEPT_SAMPLES, SoundTrack

MIN_FRAMES: Final = 8
MIN_HOPS: Final = 32
"""Frames hear together, so many or those of .32 s: their patches are of nearly the same sound."""
MAX_LAG_SECONDS: Final = 30
"""Frames do not wait longer for sound, in their own time: it is taken as silence."""
_MAX_LAG_HOPS: Final = MAX_LAG_SECONDS * SAMPLE_RATE_HZ // HOP_SAMPLES
_MAX_WAITING: Final = 9_000
"""The same for times that hardly rise: 30 s of 300 frames."""


class Hearing:
    """Says what frames hear, in their order; for the thread that sees and the one that listens.

    lacks_sound: whether frames were given silence since sound came too late, or much too early.
    """

    def __init__(
        self,
        track: SoundTrack,
        say: Callable[[Heard], None],
        *,
        max_frames: int,
        ahead_seconds: int = 0,
    ) -> None:
        """Hear what is put on a track.

        Args: max_frames: of one Heard; ahead_seconds: sound that is kept before its frames, whose
            times rise; 0: only what is wanted is put on the track.
        """
        self._track = track
        self._say = say
        self._max_frames = max_frames
        self._ahead_samples = ahead_seconds * SAMPLE_RATE_HZ
        self._changed = threading.Condition()
        self._waiting: deque[int] = deque()
        self._wanted = -(2**62)
        self._dropped = -(2**62)
        self._is_silent = False
        self._is_last = False
        self._failure: BaseException | None = None
        self._busy_seconds = 0.0
        self.lacks_sound = False

    def expect(self, hop: int) -> None:
        """A frame was seen whose patch starts at this hop.

        Raises: what the listening thread failed with.
        """
        with self._changed:
            self._check()
            self._waiting.append(hop)
            self._wanted = max(self._wanted, _stop_of(hop))
            self.lacks_sound |= hop * HOP_SAMPLES < self._dropped
            self._tell_ready()
            late = 0
            while late < len(self._waiting) and self._is_late(late):
                late += 1
            if late:
                self.lacks_sound = True
                self._tell(late)
            self._changed.notify_all()

    def keep(self, piece: Piece, busy_seconds: float) -> None:
        """More sound has come."""
        with self._changed:
            began = time.perf_counter()
            span = self._wanted - self._start()
            dropped = self._track.keep(piece, KEPT_SAMPLES + span + self._ahead_samples)
            if self._ahead_samples:
                self._track.forget(self._start())
                self._dropped = max(self._dropped, dropped or self._dropped)
            self._busy_seconds += busy_seconds + time.perf_counter() - began
            self._tell_ready()
            self._changed.notify_all()

    def end(self, failure: BaseException | None = None) -> None:
        """No more sound will come."""
        with self._changed:
            self._is_silent = True
            self._failure = failure
            if failure is None:
                self._tell_ready()
            self._changed.notify_all()

    def wait_for_want(self) -> bool:
        """Wait until sound is wanted that has not come; False: none will be any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_wanting() or self._is_done())
            return self._is_wanting()

    def finish(self) -> None:
        """No more frames will come: wait until all have heard.

        Raises: what the listening thread failed with.
        """
        with self._changed:
            self._is_last = True
            self._tell_ready()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting or self._failure is not None)
            self._check()

    def save(self) -> State:
        """What frames wait for, and the sound that they and later ones hear."""
        with self._changed:
            return {
                "waiting": list(self._waiting),
                "wanted": self._wanted,
                "dropped": self._dropped,
                "lacks_sound": self.lacks_sound,
                "track": self._track.save(self._start()),
            }

    def restore(self, state: State) -> None:
        """Go on where another was saved."""
        with self._changed:
            self._waiting.extend(state["waiting"])
            self._wanted, self._dropped = state["wanted"], state["dropped"]
            self.lacks_sound = state["lacks_sound"]
            self._track.restore(state["track"])

    def _start(self) -> int:
        """The first sample that is still asked for, if times rise."""
        if self._waiting:
            return self._waiting[0] * HOP_SAMPLES
        return self._wanted - PATCH_SPAN_HOPS * HOP_SAMPLES

    def _is_wanting(self) -> bool:
        return bool(self._waiting) and self._track.reach < self._wanted

    def _is_done(self) -> bool:
        return self._is_last and not self._waiting

    def _is_late(self, place: int) -> bool:
        behind = len(self._waiting) - place > _MAX_WAITING
        return behind or self._waiting[-1] - self._waiting[place] > _MAX_LAG_HOPS

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _tell_ready(self) -> None:
        ready = 0
        while ready < len(self._waiting) and self._is_ready(self._waiting[ready]):
            ready += 1
        if ready and (self._is_last or self._are_many(ready)):
            self._tell(ready)

    def _are_many(self, ready: int) -> bool:
        return ready >= MIN_FRAMES or self._waiting[ready - 1] - self._waiting[0] >= MIN_HOPS

    def _is_ready(self, hop: int) -> bool:
        return self._is_silent or _stop_of(hop) <= self._track.reach

    def _tell(self, frames: int) -> None:
        """Say what the next so many frames hear."""
        while frames > 0:
            began = time.perf_counter()
            count = min(frames, self._max_frames)
            hops = [self._waiting.popleft() for _ in range(count)]
            waveform, patch_starts = cut_patches(hops, self._track.read)
            busy = self._busy_seconds + time.perf_counter() - began
            self._busy_seconds = 0.0
            self._say(
                Heard(waveform=waveform, patch_starts=patch_starts, stage_seconds={"sound": busy})
            )
            frames -= count


def _stop_of(hop: int) -> int:
    """The sample at which a patch ends."""
    return (hop + PATCH_SPAN_HOPS) * HOP_SAMPLES
