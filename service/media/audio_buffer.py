"""Audio buffer: the segments on the frames' time axis that frames may still need."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Anomalies
from service.media.resample import AudioSegment, Discontinuities

RETAINED_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
"""Samples stored beyond one request: the last second, and the lead of audio decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioBufferSnapshot:
    """State of an AudioBuffer.

    first_samples: where each of the segments starts; last_ends: ends of the last ones received.
    """

    first_samples: tuple[int, ...]
    segments: tuple[Float32Array, ...]
    last_ends: tuple[int, ...]
    first_sample: int | None
    last_sample: int
    discontinuities: Discontinuities


class AudioBuffer:
    """Recent audio segments; silence where there are none.

    first_sample, last_sample: extent of all audio so far, dropped segments included.
    """

    def __init__(self) -> None:
        self.discontinuities = Discontinuities()
        self.stored_samples = 0
        self.first_sample: int | None = None
        self.last_sample = 0
        self._segments: deque[AudioSegment] = deque()
        # two ends: a single outlier timestamp must not make the audio seem complete
        self._last_ends: deque[int] = deque([-(2**62)] * 2, maxlen=2)

    @property
    def complete_until(self) -> int:
        """Sample before which the audio is complete."""
        return min(self._last_ends)

    def append(self, segment: AudioSegment, max_samples: int) -> int | None:
        """Append a segment; drops the first ones once `max_samples` follow them.

        Returns: end of the dropped audio, in samples; None: nothing was dropped.
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
        """Drop the first segments that end before a sample."""
        while self._segments and self._segments[0][0] + len(self._segments[0][1]) < sample:
            self.stored_samples -= len(self._segments.popleft()[1])

    def read(self, start: int, stop: int) -> Float32Array:
        """Read (stop - start,) samples; zeros where there is no audio; later segments win."""
        waveform = np.zeros(stop - start, dtype=np.float32)
        for first, samples in self._segments:
            low, high = max(first, start), min(first + len(samples), stop)
            if low < high:
                waveform[low - start : high - start] = samples[low - first : high - first]
        return waveform

    def snapshot(self, start: int) -> AudioBufferSnapshot:
        """Return the audio from a sample on, and the counts of all audio."""
        segments = [each for each in self._segments if each[0] + len(each[1]) > start]
        return AudioBufferSnapshot(
            first_samples=tuple(first for first, _ in segments),
            segments=tuple(samples for _, samples in segments),
            last_ends=tuple(self._last_ends),
            first_sample=self.first_sample,
            last_sample=self.last_sample,
            discontinuities=replace(self.discontinuities),
        )

    def restore(self, snapshot: AudioBufferSnapshot) -> None:
        """Continue from a snapshot."""
        self._segments = deque(zip(snapshot.first_samples, snapshot.segments, strict=True))
        self.stored_samples = sum(len(samples) for samples in snapshot.segments)
        self._last_ends.extend(snapshot.last_ends)
        self.first_sample, self.last_sample = snapshot.first_sample, snapshot.last_sample
        self.discontinuities.restore(snapshot.discontinuities)

    def add_anomalies(self, video: Anomalies, *, bad_packets: int = 0) -> Anomalies:
        """Add the anomalies of the audio so far to those of the video."""
        counts, first = self.discontinuities, self.first_sample
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
            audio_gaps=counts.gaps,
            audio_gap_seconds=counts.gap_samples / SAMPLE_RATE_HZ,
            audio_overlaps=counts.overlaps,
            audio_format_changes=counts.format_changes,
            **span,
        )
