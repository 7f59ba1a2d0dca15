"""Raw audio of a stream: PCM pieces, resampled onto the frames' time axis like a clip's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame

from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Anomalies, Flag
from service.domain.stream import AudioFormat, SampleEncoding
from service.media.audio_buffer import AudioBuffer
from service.media.downmix import MAX_PASSED_CHANNELS
from service.media.resample import (
    AudioSegment,
    PlacedResampler,
    PlacedResamplerSnapshot,
    compute_phase_period,
)

_PARTS_PER_SECOND: Final = 40
"""Audio is placed in parts of 25 ms, however long the pieces are."""
_SAMPLE_TYPES: Final = {SampleEncoding.S16: ("<i2", "s16"), SampleEncoding.F32: ("<f4", "flt")}
_FLOAT_BYTES: Final = 4
_LAYOUTS: Final = {3: "3C", 4: "4C"}
"""Three or four channels have no usual order: they count alike."""
_HISTORIES_PER_SECOND: Final = 20
_MIN_HISTORY_SAMPLES: Final = 96
"""The resampler's filter reaches 2 ms or 16 samples to either side, whichever is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleHistorySnapshot:
    """The last samples of a run. start: which sample of the run is the first of `data`."""

    data: bytes
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawAudioSnapshot:
    """State of a RawAudioReader without its buffer."""

    samples: int
    resampler: PlacedResamplerSnapshot
    history: SampleHistorySnapshot


class RawAudioReader:
    """Reads PCM audio of one format. samples: samples per channel so far."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self.buffer = AudioBuffer()
        self._resampler = PlacedResampler(self.buffer.discontinuities, self._record)
        self._history = _SampleHistory(audio_format.rate_hz, _mixed_sample_bytes(audio_format))
        self.samples = 0

    def push(self, data: bytes, time_seconds: float | None) -> Iterator[AudioSegment]:
        """Yield the segments that more samples complete.

        Args: data: whole samples of every channel; an incomplete last one is dropped.
            time_seconds: time of the first; None: they follow the previous ones.
        """
        at = None if time_seconds is None else time_seconds * SAMPLE_RATE_HZ
        size, rate_hz = self._format.frame_bytes, self._format.rate_hz
        step = max(1, rate_hz // _PARTS_PER_SECOND) * size
        whole = len(data) - len(data) % size
        for first in range(0, whole, step):
            part = data[first : min(first + step, whole)]
            yield from self._resampler.push(self._make_frame(part), at)
            self.samples += len(part) // size
            at = None

    def flush(self) -> Iterator[AudioSegment]:
        """Yield the rest, after the last samples were pushed."""
        yield from self._resampler.flush()

    def flags(self) -> set[Flag]:
        """Flags of the audio so far."""
        seams = self.buffer.discontinuities
        found = {
            Flag.AUDIO_GAPS: seams.gaps + seams.overlaps,
            Flag.AUDIO_OPPOSITE_PHASE: self._resampler.has_cancelled,
        }
        return {flag for flag, is_set in found.items() if is_set}

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add the anomalies of the audio so far to those of the video."""
        return self.buffer.add_anomalies(video)

    def snapshot(self) -> RawAudioSnapshot:
        """Return what the next samples need, without the buffer."""
        return RawAudioSnapshot(
            samples=self.samples,
            resampler=self._resampler.snapshot(),
            history=self._history.snapshot(),
        )

    def restore(self, snapshot: RawAudioSnapshot) -> None:
        """Continue from a snapshot of audio of the same format.

        Raises: ValueError: it contradicts itself.
        """
        self.samples = snapshot.samples
        self._history.restore(snapshot.history)
        history = self._make_frame(snapshot.history.data, is_mixed=True)
        self._resampler.restore(
            snapshot.resampler,
            history,
            snapshot.history.start,
            lambda data, is_mixed: self._make_frame(data, is_mixed=is_mixed),
        )

    def _record(self, frame: AudioFrame, starts_run: bool) -> None:
        """Store a frame that is about to be resampled."""
        self._history.add(frame.to_ndarray().tobytes(), starts_run=starts_run)

    def _make_frame(self, data: bytes, *, is_mixed: bool = False) -> AudioFrame:
        """Make a frame of interleaved samples; is_mixed: of what they are mixed to."""
        dtype, name = _SAMPLE_TYPES[self._format.encoding]
        layout = _LAYOUTS.get(self._format.channels, f"{self._format.channels}c")
        if is_mixed and _is_mixed_to_mono(self._format):
            dtype, name, layout = "<f4", "flt", "mono"
        samples = np.frombuffer(data, dtype).reshape(1, -1)
        frame = AudioFrame.from_ndarray(samples, format=name, layout=layout)
        frame.sample_rate = self._format.rate_hz
        return frame


def _is_mixed_to_mono(audio_format: AudioFormat) -> bool:
    return audio_format.channels > MAX_PASSED_CHANNELS


def _mixed_sample_bytes(audio_format: AudioFormat) -> int:
    return _FLOAT_BYTES if _is_mixed_to_mono(audio_format) else audio_format.frame_bytes


class _SampleHistory:
    """The last samples of a run: input that a new resampler needs to continue in its middle.

    Stored from the run's sample `start` on, which is in the phase of its first.
    """

    def __init__(self, rate_hz: int, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self._phase_period = compute_phase_period(rate_hz)
        self._min_samples = max(rate_hz // _HISTORIES_PER_SECOND, _MIN_HISTORY_SAMPLES)
        self._data = bytearray()
        self._start = 0

    def add(self, data: bytes, *, starts_run: bool) -> None:
        """Add samples; starts_run: they are the first of a run."""
        if starts_run:
            self._data.clear()
            self._start = 0
        self._data += data
        if len(self._data) > 2 * (self._min_samples + self._phase_period) * self._frame_bytes:
            self._trim()

    def snapshot(self) -> SampleHistorySnapshot:
        self._trim()
        return SampleHistorySnapshot(data=bytes(self._data), start=self._start)

    def restore(self, snapshot: SampleHistorySnapshot) -> None:
        self._data, self._start = bytearray(snapshot.data), snapshot.start

    def _trim(self) -> None:
        spare = len(self._data) // self._frame_bytes - self._min_samples
        periods = max(0, spare // self._phase_period)
        del self._data[: periods * self._phase_period * self._frame_bytes]
        self._start += periods * self._phase_period
