"""Pieces of sound on the frames' time axis, as many as frames may still ask for."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, replace
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Anomalies
from service.domain.snapshot_codec import State
from service.media.resample import AudioSegment, Discontinuities

RETAINED_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
"""Sound kept beyond what is heard at once: the last second, and what decoding runs ahead."""


class AudioBuffer:
    """The sound that has come so far, but what was long ago; silence where there is none."""

    def __init__(self) -> None:
        self.discontinuities = Discontinuities()
        self.stored_samples = 0
        self.first_sample: int | None = None
        self.last_sample = 0
        self._segments: deque[AudioSegment] = deque()
        # two ends: one piece with a wild timestamp does not make the sound seem read
        self._last_ends: deque[int] = deque([-(2**62)] * 2, maxlen=2)

    @property
    def complete_until(self) -> int:
        """The sample before which everything has come."""
        return min(self._last_ends)

    def append(self, segment: AudioSegment, max_samples: int) -> int | None:
        """Take the next piece; the first are dropped once so many samples come after them.

        Returns: how far the sound reaches that was dropped; None: none was.
        """
        first, samples = segment
        self._segments.append(segment)
        self._last_ends.append(first + len(samples))
        self.stored_samples += len(samples)
        if self.first_sample is None:
            self.first_sample = first
        self.last_sample = max(self.last_sample, first + len(samples))
        dropped = None
        while self.stored_samples - len(self._segments[0][1]) > max_samples:
            start, old = self._segments.popleft()
            self.stored_samples -= len(old)
            end = start + len(old)
            dropped = end if dropped is None else max(dropped, end)
        return dropped

    def drop_before(self, sample: int) -> None:
        """Drop the first pieces, as far as they end before a sample."""
        while self._segments and self._segments[0][0] + len(self._segments[0][1]) < sample:
            self.stored_samples -= len(self._segments.popleft()[1])

    def read(self, start: int, stop: int) -> Float32Array:
        """(stop - start,) samples; zeros outside the sound; where pieces overlap the later one."""
        waveform = np.zeros(stop - start, dtype=np.float32)
        for first, samples in self._segments:
            low, high = max(first, start), min(first + len(samples), stop)
            if low < high:
                waveform[low - start : high - start] = samples[low - first : high - first]
        return waveform

    def save(self, start: int) -> State:
        """The sound from a sample on, and what is known of all."""
        segments = [piece for piece in self._segments if piece[0] + len(piece[1]) > start]
        return {
            "firsts": [first for first, _ in segments],
            "pieces": [samples for _, samples in segments],
            "ends": list(self._last_ends),
            "first_sample": self.first_sample,
            "last_sample": self.last_sample,
            "seams": asdict(self.discontinuities),
        }

    def restore(self, state: State) -> None:
        """Go on where a track was saved."""
        self._segments = deque(zip(state["firsts"], state["pieces"], strict=True))
        self.stored_samples = sum(len(samples) for samples in state["pieces"])
        self._last_ends.extend(state["ends"])
        self.first_sample, self.last_sample = state["first_sample"], state["last_sample"]
        for name, value in state["seams"].items():
            setattr(self.discontinuities, name, value)

    def add_anomalies(self, video: Anomalies, *, bad_packets: int = 0) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        seams, first = self.discontinuities, self.first_sample
        span = (
            {}
            if first is None
            else {
                "audio_first_seconds": first / SAMPLE_RATE_HZ,
                "audio_last_seconds": self.last_sample / SAMPLE_RATE_HZ,
            }
        )
        return replace(
            video,
            audio_bad_packets=bad_packets,
            audio_gaps=seams.gaps,
            audio_gap_seconds=seams.gap_samples / SAMPLE_RATE_HZ,
            audio_overlaps=seams.overlaps,
            audio_format_changes=seams.format_changes,
            **span,
        )
