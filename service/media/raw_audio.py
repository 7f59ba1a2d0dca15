"""Raw sound that comes in pieces, on the frames' time axis like that of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame

from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Anomalies, Flag
from service.domain.snapshot_codec import State
from service.domain.stream import AudioFormat, SampleEncoding
from service.media.audio_buffer import AudioBuffer
from service.media.resample import AudioSegment, PlacedResampler, compute_phase_period

_PARTS_PER_SECOND: Final = 40
"""Sound is placed in parts of 25 ms, however long the pieces are."""
_SAMPLE_TYPES: Final = {SampleEncoding.S16: ("<i2", "s16"), SampleEncoding.F32: ("<f4", "flt")}
_HISTORIES_PER_SECOND: Final = 20
_MIN_HISTORY_SAMPLES: Final = 96
"""The resampler's filter reaches 2 ms or 16 samples to either side, whichever is more."""


class RawAudioReader:
    """Sound of one format. samples: of each channel, how many have come."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self.buffer = AudioBuffer()
        self._resampler = PlacedResampler(self.buffer.discontinuities)
        self._history = _SampleHistory(audio_format)
        self.samples = 0

    def push(self, data: bytes, time_seconds: float | None) -> Iterator[AudioSegment]:
        """The pieces that more samples complete.

        Args: data: whole samples of every channel; what is left over is dropped.
            time_seconds: of the first; None: they follow on.
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
        """The rest, once the last samples were pushed."""
        yield from self._resampler.flush()

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        seams = self.buffer.discontinuities
        return {Flag.AUDIO_GAPS} if seams.gaps + seams.overlaps else set()

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return self.buffer.add_anomalies(video)

    def save(self) -> State:
        """All that is needed to go on with the next samples, but the track."""
        return {
            "samples": self.samples,
            "run": self._resampler.save(),
            "memory": self._history.save(),
        }

    def restore(self, state: State) -> None:
        """Go on where sound of the same format was saved; raises ValueError."""
        self.samples = state["samples"]
        self._history.restore(state["memory"])
        if state["run"] is not None:
            frame = self._make_frame(bytes(self._history.data))
            self._resampler.restore(state["run"], frame, self._history.start)

    def _make_frame(self, data: bytes) -> AudioFrame:
        dtype, name = _SAMPLE_TYPES[self._format.encoding]
        samples = np.frombuffer(data, dtype).reshape(1, -1)
        layout = f"{self._format.channels}c"
        frame = AudioFrame.from_ndarray(samples, format=name, layout=layout)
        frame.sample_rate = self._format.rate_hz
        return frame


class _SampleHistory:
    """The last samples of a run: what a resampler hears again to go on in the middle of it.

    data: from the run's sample `start` on, a whole number of units.
    """

    def __init__(self, audio_format: AudioFormat) -> None:
        self._frame_bytes = audio_format.frame_bytes
        self._phase_period = compute_phase_period(audio_format.rate_hz)
        self._min_samples = max(audio_format.rate_hz // _HISTORIES_PER_SECOND, _MIN_HISTORY_SAMPLES)
        self.data = bytearray()
        self.start = 0

    def add(self, data: bytes, *, starts_run: bool) -> None:
        """Remember more; begins: it is the first of a run."""
        if starts_run:
            self.data.clear()
            self.start = 0
        self.data += data
        if len(self.data) > 2 * (self._min_samples + self._phase_period) * self._frame_bytes:
            self._trim()

    def save(self) -> State:
        self._trim()
        return {"data": np.frombuffer(bytes(self.data), np.uint8), "start": self.start}

    def restore(self, state: State) -> None:
        self.data, self.start = bytearray(state["data"].tobytes()), state["start"]

    def _trim(self) -> None:
        spare = len(self.data) // self._frame_bytes - self._min_samples
        units = max(0, spare // self._phase_period)
        del self.data[: units * self._phase_period * self._frame_bytes]
        self.start += units * self._phase_period
