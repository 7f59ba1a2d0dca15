"""Frames that wait for their sound: a frame's patch is complete a second after the frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from service.domain.audio_grid import HOP_SAMPLES, SAMPLE_RATE_HZ
from service.domain.snapshot_codec import State
from service.domain.stream import AudioExtracted
from service.media.audio_buffer import RETAINED_SAMPLES, AudioBuffer
from service.media.audio_patches import PATCH_SPAN_HOPS, cut_patches
from service.media.resample import AudioSegment

MIN_BATCH_FRAMES: Final = 8
MIN_BATCH_HOPS: Final = 32
"""Frames hear together, so many or those of .32 s: their patches are of nearly the same sound."""
MAX_LAG_SECONDS: Final = 30
"""Frames do not wait longer for sound, in their own time: it is taken as silence."""
_MAX_LAG_HOPS: Final = MAX_LAG_SECONDS * SAMPLE_RATE_HZ // HOP_SAMPLES
_MAX_WAITING_FRAMES: Final = 9_000
"""The same for times that hardly rise: 30 s of 300 frames."""


class AudioAligner:
    """Says what frames hear, in their order; for the thread that sees and the one that listens.

    lacks_sound: whether frames were given silence since sound came too late, or much too early.
    """

    def __init__(
        self,
        buffer: AudioBuffer,
        emit: Callable[[AudioExtracted], None],
        *,
        max_frames: int,
        lookahead_seconds: int = 0,
    ) -> None:
        """Hear what is put on a track.

        Args: max_frames: of one Heard; ahead_seconds: sound that is kept before its frames, whose
            times rise; 0: only what is wanted is put on the track.
        """
        self._buffer = buffer
        self._emit = emit
        self._max_frames = max_frames
        self._lookahead_samples = lookahead_seconds * SAMPLE_RATE_HZ
        self._changed = threading.Condition()
        self._waiting_hops: deque[int] = deque()
        self._needed_until = -(2**62)
        self._dropped_until = -(2**62)
        self._has_audio_ended = False
        self._have_frames_ended = False
        self._failure: BaseException | None = None
        self._busy_seconds = 0.0
        self.has_missing_audio = False

    def add_frame(self, hop: int) -> None:
        """A frame was seen whose patch starts at this hop.

        Raises: what the listening thread failed with.
        """
        with self._changed:
            self._raise_failure()
            self._waiting_hops.append(hop)
            self._needed_until = max(self._needed_until, _patch_end_sample(hop))
            self.has_missing_audio |= hop * HOP_SAMPLES < self._dropped_until
            self._emit_ready()
            late = 0
            while late < len(self._waiting_hops) and self._is_late(late):
                late += 1
            if late:
                self.has_missing_audio = True
                self._emit_patches(late)
            self._changed.notify_all()

    def add_audio(self, segment: AudioSegment, busy_seconds: float) -> None:
        """More sound has come."""
        with self._changed:
            began = time.perf_counter()
            span = self._needed_until - self._first_needed_sample()
            dropped = self._buffer.append(
                segment, RETAINED_SAMPLES + span + self._lookahead_samples
            )
            if self._lookahead_samples:
                self._buffer.drop_before(self._first_needed_sample())
                self._dropped_until = max(self._dropped_until, dropped or self._dropped_until)
            self._busy_seconds += busy_seconds + time.perf_counter() - began
            self._emit_ready()
            self._changed.notify_all()

    def end_audio(self, failure: BaseException | None = None) -> None:
        """No more sound will come."""
        with self._changed:
            self._has_audio_ended = True
            self._failure = failure
            if failure is None:
                self._emit_ready()
            self._changed.notify_all()

    def wait_for_demand(self) -> bool:
        """Wait until sound is wanted that has not come; False: none will be any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._needs_audio() or self._is_done())
            return self._needs_audio()

    def finish(self) -> None:
        """No more frames will come: wait until all have heard.

        Raises: what the listening thread failed with.
        """
        with self._changed:
            self._have_frames_ended = True
            self._emit_ready()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting_hops or self._failure is not None)
            self._raise_failure()

    def save(self) -> State:
        """What frames wait for, and the sound that they and later ones hear."""
        with self._changed:
            return {
                "waiting": list(self._waiting_hops),
                "wanted": self._needed_until,
                "dropped": self._dropped_until,
                "lacks_sound": self.has_missing_audio,
                "track": self._buffer.save(self._first_needed_sample()),
            }

    def restore(self, state: State) -> None:
        """Go on where another was saved."""
        with self._changed:
            self._waiting_hops.extend(state["waiting"])
            self._needed_until, self._dropped_until = state["wanted"], state["dropped"]
            self.has_missing_audio = state["lacks_sound"]
            self._buffer.restore(state["track"])

    def _first_needed_sample(self) -> int:
        """The first sample that is still asked for, if times rise."""
        if self._waiting_hops:
            return self._waiting_hops[0] * HOP_SAMPLES
        return self._needed_until - PATCH_SPAN_HOPS * HOP_SAMPLES

    def _needs_audio(self) -> bool:
        return bool(self._waiting_hops) and self._buffer.complete_until < self._needed_until

    def _is_done(self) -> bool:
        return self._have_frames_ended and not self._waiting_hops

    def _is_late(self, place: int) -> bool:
        behind = len(self._waiting_hops) - place > _MAX_WAITING_FRAMES
        return behind or self._waiting_hops[-1] - self._waiting_hops[place] > _MAX_LAG_HOPS

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _emit_ready(self) -> None:
        ready = 0
        while ready < len(self._waiting_hops) and self._is_ready(self._waiting_hops[ready]):
            ready += 1
        if ready and (self._have_frames_ended or self._is_batch_full(ready)):
            self._emit_patches(ready)

    def _is_batch_full(self, ready: int) -> bool:
        return (
            ready >= MIN_BATCH_FRAMES
            or self._waiting_hops[ready - 1] - self._waiting_hops[0] >= MIN_BATCH_HOPS
        )

    def _is_ready(self, hop: int) -> bool:
        return self._has_audio_ended or _patch_end_sample(hop) <= self._buffer.complete_until

    def _emit_patches(self, frames: int) -> None:
        """Say what the next so many frames hear."""
        while frames > 0:
            began = time.perf_counter()
            count = min(frames, self._max_frames)
            hops = [self._waiting_hops.popleft() for _ in range(count)]
            waveform, patch_starts = cut_patches(hops, self._buffer.read)
            busy = self._busy_seconds + time.perf_counter() - began
            self._busy_seconds = 0.0
            self._emit(
                AudioExtracted(
                    waveform=waveform, patch_starts=patch_starts, stage_seconds={"sound": busy}
                )
            )
            frames -= count


def _patch_end_sample(hop: int) -> int:
    """The sample at which a patch ends."""
    return (hop + PATCH_SPAN_HOPS) * HOP_SAMPLES
