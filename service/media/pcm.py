"""Raw sound that comes in pieces, on the frames' time axis like that of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame

from service.domain.live import SampleEncoding, SoundFormat
from service.domain.media import Anomalies, Flag
from service.domain.time import SAMPLE_RATE_HZ
from service.media.resample import Piece, Placer
from service.media.track import SoundTrack

_PARTS_PER_SECOND: Final = 40
"""Sound is placed in parts of 25 ms, however long the pieces are."""
_DTYPES: Final = {SampleEncoding.S16: ("<i2", "s16"), SampleEncoding.F32: ("<f4", "flt")}


class RawSound:
    """Sound of one format."""

    def __init__(self, shape: SoundFormat) -> None:
        self._shape = shape
        self.track = SoundTrack()
        self._placer = Placer(self.track.seams)
        self._part_samples = max(1, shape.rate_hz // _PARTS_PER_SECOND)

    def push(self, data: bytes, time_seconds: float | None) -> Iterator[Piece]:
        """The pieces that more samples complete.

        Args: data: whole samples of every channel; what is left over is dropped.
            time_seconds: of the first; None: they follow on.
        """
        dtype, name = _DTYPES[self._shape.encoding]
        channels = self._shape.channels
        whole = len(data) - len(data) % self._shape.frame_bytes
        samples = np.frombuffer(data[:whole], dtype).reshape(1, -1)
        at = None if time_seconds is None else time_seconds * SAMPLE_RATE_HZ
        step = self._part_samples * channels
        for first in range(0, samples.shape[1], step):
            frame = AudioFrame.from_ndarray(
                samples[:, first : first + step], format=name, layout=f"{channels}c"
            )
            frame.sample_rate = self._shape.rate_hz
            yield from self._placer.push(frame, at)
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
