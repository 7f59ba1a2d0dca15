"""Raw sound that comes in pieces, on the frames' time axis like that of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame

from service.domain.live import SampleEncoding, SoundFormat
from service.domain.media import Anomalies, Flag
from service.domain.state import State
from service.domain.time import SAMPLE_RATE_HZ
from service.media.resample import Piece, Placer, unit_of
from service.media.track import SoundTrack

_PARTS_PER_SECOND: Final = 40
"""Sound is placed in parts of 25 ms, however long the pieces are."""
_TYPES: Final = {SampleEncoding.S16: ("<i2", "s16"), SampleEncoding.F32: ("<f4", "flt")}
_MEMORY_PER_SECOND: Final = 20
_MIN_MEMORY: Final = 96
"""The resampler's filter reaches 2 ms or 16 samples to either side, whichever is more."""


class RawSound:
    """Sound of one format. samples: of each channel, how many have come."""

    def __init__(self, shape: SoundFormat) -> None:
        self._shape = shape
        self.track = SoundTrack()
        self._placer = Placer(self.track.seams)
        self._memory = _Memory(shape)
        self.samples = 0

    def push(self, data: bytes, time_seconds: float | None) -> Iterator[Piece]:
        """The pieces that more samples complete.

        Args: data: whole samples of every channel; what is left over is dropped.
            time_seconds: of the first; None: they follow on.
        """
        at = None if time_seconds is None else time_seconds * SAMPLE_RATE_HZ
        size, rate_hz = self._shape.frame_bytes, self._shape.rate_hz
        step = max(1, rate_hz // _PARTS_PER_SECOND) * size
        whole = len(data) - len(data) % size
        for first in range(0, whole, step):
            part = data[first : min(first + step, whole)]
            runs = self._placer.runs
            yield from self._placer.push(self._make_frame(part), at)
            self._memory.add(part, begins=self._placer.runs != runs)
            self.samples += len(part) // size
            at = None

    def flush(self) -> Iterator[Piece]:
        """The rest, once the last samples were pushed."""
        yield from self._placer.flush()

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        seams = self.track.seams
        return {Flag.AUDIO_GAPS} if seams.gaps + seams.overlaps else set()

    def report(self, pictures: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return self.track.report(pictures)

    def save(self) -> State:
        """All that is needed to go on with the next samples, but the track."""
        return {
            "samples": self.samples,
            "run": self._placer.save(),
            "memory": self._memory.save(),
        }

    def restore(self, state: State) -> None:
        """Go on where sound of the same format was saved; raises ValueError."""
        self.samples = state["samples"]
        self._memory.restore(state["memory"])
        if state["run"] is not None:
            frame = self._make_frame(bytes(self._memory.data))
            self._placer.restore(state["run"], frame, self._memory.start)

    def _make_frame(self, data: bytes) -> AudioFrame:
        dtype, name = _TYPES[self._shape.encoding]
        samples = np.frombuffer(data, dtype).reshape(1, -1)
        layout = f"{self._shape.channels}c"
        frame = AudioFrame.from_ndarray(samples, format=name, layout=layout)
        frame.sample_rate = self._shape.rate_hz
        return frame


class _Memory:
    """The last samples of a run: what a resampler hears again to go on in the middle of it.

    data: from the run's sample `start` on, a whole number of units.
    """

    def __init__(self, shape: SoundFormat) -> None:
        self._size = shape.frame_bytes
        self._unit = unit_of(shape.rate_hz)
        self._least = max(shape.rate_hz // _MEMORY_PER_SECOND, _MIN_MEMORY)
        self.data = bytearray()
        self.start = 0

    def add(self, data: bytes, *, begins: bool) -> None:
        """Remember more; begins: it is the first of a run."""
        if begins:
            self.data.clear()
            self.start = 0
        self.data += data
        if len(self.data) > 2 * (self._least + self._unit) * self._size:
            self._forget()

    def save(self) -> State:
        self._forget()
        return {"data": np.frombuffer(bytes(self.data), np.uint8), "start": self.start}

    def restore(self, state: State) -> None:
        self.data, self.start = bytearray(state["data"].tobytes()), state["start"]

    def _forget(self) -> None:
        spare = len(self.data) // self._size - self._least
        units = max(0, spare // self._unit)
        del self.data[: units * self._unit * self._size]
        self.start += units * self._unit
