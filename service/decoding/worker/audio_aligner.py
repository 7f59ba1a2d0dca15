"""Alignment of a stream's audio with its frames: a patch is complete 1 s after its frame."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from service.domain.audio_grid import HOP_SAMPLES, SAMPLE_RATE_HZ
from service.domain.stream import AudioExtracted
from service.media.audio import PATCH_SPAN_HOPS, cut_patches
from service.media.audio_buffer import RETAINED_SAMPLES, AudioBuffer, AudioBufferSnapshot
from service.media.resample import AudioSegment

MIN_BATCH_FRAMES: Final = 8
MIN_BATCH_HOPS: Final = 32
"""Minimum batch: 8 frames, or 0.32 s of frames; adjacent patches overlap almost wholly."""
MAX_LAG_SECONDS: Final = 30
"""Longest wait of a frame for its audio, in media time; later audio is replaced by silence."""
_MAX_LAG_HOPS: Final = MAX_LAG_SECONDS * SAMPLE_RATE_HZ // HOP_SAMPLES
_MAX_WAITING_FRAMES: Final = 9_000
"""Limit where timestamps hardly increase: 30 s at 300 frames a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioAlignerSnapshot:
    """State of an AudioAligner; hops and samples as its attributes."""

    waiting_hops: tuple[int, ...]
    needed_until: int
    dropped_until: int
    has_missing_audio: bool
    buffer: AudioBufferSnapshot


class AudioAligner:
    """Cuts the patches of frames, in order; used by the frames' thread and the audio's thread.

    has_missing_audio: True once a frame got silence because its audio came too late or too early.
    """

    def __init__(
        self,
        buffer: AudioBuffer,
        emit: Callable[[AudioExtracted], None],
        *,
        max_frames: int,
        lookahead_seconds: int = 0,
    ) -> None:
        """Take the audio from a buffer.

        Args: max_frames: of one AudioExtracted; lookahead_seconds: audio that is stored before
            its frames, whose times rise; 0: only needed audio is added.
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
        """Add the next frame, by the hop at which its patch starts.

        Raises: the error that ended the audio's thread.
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
        """Add the next segment, and the seconds that its decoding took."""
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
        """Mark the end of the audio, and the error that ended it."""
        with self._changed:
            self._has_audio_ended = True
            self._failure = failure
            if failure is None:
                self._emit_ready()
            self._changed.notify_all()

    def wait_for_demand(self) -> bool:
        """Wait until frames need more audio; False: they have ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._needs_audio() or self._is_done())
            return self._needs_audio()

    def finish(self) -> None:
        """Mark the end of the frames, and wait until the patches of all are emitted.

        Raises: the error that ended the audio's thread.
        """
        with self._changed:
            self._have_frames_ended = True
            self._emit_ready()
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting_hops or self._failure is not None)
            self._raise_failure()

    def snapshot(self) -> AudioAlignerSnapshot:
        """Return the waiting frames, and the audio that they and later ones need."""
        with self._changed:
            return AudioAlignerSnapshot(
                waiting_hops=tuple(self._waiting_hops),
                needed_until=self._needed_until,
                dropped_until=self._dropped_until,
                has_missing_audio=self.has_missing_audio,
                buffer=self._buffer.snapshot(self._first_needed_sample()),
            )

    def restore(self, snapshot: AudioAlignerSnapshot) -> None:
        """Continue from a snapshot."""
        with self._changed:
            self._waiting_hops.extend(snapshot.waiting_hops)
            self._needed_until = snapshot.needed_until
            self._dropped_until = snapshot.dropped_until
            self.has_missing_audio = snapshot.has_missing_audio
            self._buffer.restore(snapshot.buffer)

    def _first_needed_sample(self) -> int:
        """Return the first sample that is still needed, if timestamps increase."""
        if self._waiting_hops:
            return self._waiting_hops[0] * HOP_SAMPLES
        return self._needed_until - PATCH_SPAN_HOPS * HOP_SAMPLES

    def _needs_audio(self) -> bool:
        return bool(self._waiting_hops) and self._buffer.complete_until < self._needed_until

    def _is_done(self) -> bool:
        return self._have_frames_ended and not self._waiting_hops

    def _is_late(self, place: int) -> bool:
        is_queue_too_long = len(self._waiting_hops) - place > _MAX_WAITING_FRAMES
        return (
            is_queue_too_long or self._waiting_hops[-1] - self._waiting_hops[place] > _MAX_LAG_HOPS
        )

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
        """Emit the patches of the next `frames` frames."""
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
    return (hop + PATCH_SPAN_HOPS) * HOP_SAMPLES
