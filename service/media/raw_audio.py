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
from service.media.resample import (
    AudioSegment,
    PlacedResampler,
    ResampledRunSnapshot,
    compute_phase_period,
)

_PARTS_PER_SECOND: Final = 40
"""Audio is placed in parts of 25 ms, however long the pieces are."""
_SAMPLE_TYPES: Final = {SampleEncoding.S16: ("<i2", "s16"), SampleEncoding.F32: ("<f4", "flt")}
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
    """State of a RawAudioReader without its buffer. run: None: there was no audio."""

    samples: int
    run: ResampledRunSnapshot | None
    history: SampleHistorySnapshot


class RawAudioReader:
    """Reads PCM audio of one format. samples: samples per channel so far."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self.buffer = AudioBuffer()
        self._resampler = PlacedResampler(self.buffer.discontinuities)
        self._history = _SampleHistory(audio_format)
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
            runs = self._resampler.run_count
            yield from self._resampler.push(self._make_frame(part), at)
            self._history.add(part, starts_run=self._resampler.run_count != runs)
            self.samples += len(part) // size
            at = None

    def flush(self) -> Iterator[AudioSegment]:
        """Yield the rest, after the last samples were pushed."""
        yield from self._resampler.flush()

    def flags(self) -> set[Flag]:
        """Flags of the audio so far."""
        seams = self.buffer.discontinuities
        return {Flag.AUDIO_GAPS} if seams.gaps + seams.overlaps else set()

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add the anomalies of the audio so far to those of the video."""
        return self.buffer.add_anomalies(video)

    def snapshot(self) -> RawAudioSnapshot:
        """Return what the next samples need, without the buffer."""
        return RawAudioSnapshot(
            samples=self.samples,
            run=self._resampler.snapshot(),
            history=self._history.snapshot(),
        )

    def restore(self, snapshot: RawAudioSnapshot) -> None:
        """Continue from a snapshot of audio of the same format.

        Raises: ValueError: it contradicts itself.
        """
        self.samples = snapshot.samples
        self._history.restore(snapshot.history)
        if snapshot.run is not None:
            frame = self._make_frame(snapshot.history.data)
            self._resampler.restore(snapshot.run, frame, snapshot.history.start)

    def _make_frame(self, data: bytes) -> AudioFrame:
        dtype, name = _SAMPLE_TYPES[self._format.encoding]
        samples = np.frombuffer(data, dtype).reshape(1, -1)
        layout = f"{self._format.channels}c"
        frame = AudioFrame.from_ndarray(samples, format=name, layout=layout)
        frame.sample_rate = self._format.rate_hz
        return frame


class _SampleHistory:
    """The last samples of a run: input that a new resampler needs to continue in its middle.

    Stored from the run's sample `start` on, which is in the phase of its first.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._frame_bytes = audio_format.frame_bytes
        self._phase_period = compute_phase_period(audio_format.rate_hz)
        self._min_samples = max(audio_format.rate_hz // _HISTORIES_PER_SECOND, _MIN_HISTORY_SAMPLES)
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
