"""Sound as mono 16 kHz on the frames' time axis: sample n is heard at n / 16000 seconds.

Sound is read from its own opening of the file, so how a container interleaves it never
matters, and only as far as the frames have come, so memory does not grow with the clip.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError

from service.domain.arrays import Floats, Integers
from service.domain.media import Anomalies, Flag
from service.domain.time import HOP_SAMPLES, PATCH_SAMPLES, SAMPLE_RATE_HZ
from service.media.packets import PacketReader
from service.media.resample import Piece, Seams, Stamps, place

PATCH_SPAN_HOPS: Final = -(-PATCH_SAMPLES // HOP_SAMPLES)
"""98 hops hold a patch."""
KEPT_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
"""Sound kept beyond what one chunk hears: the last second, and what decoding runs ahead."""


class Sound:
    """The sound of one clip; silence where there is none."""

    def __init__(self, container: InputContainer, stream: AudioStream | None) -> None:
        """Read a sound stream of a container that nobody else reads; None: silence."""
        self._stream = stream
        self._packets = None if stream is None else PacketReader(container, stream)
        self._pieces: deque[Piece] = deque()
        self.kept_samples = 0
        # two ends: one piece with a wild timestamp does not make the sound seem read
        self._ends: deque[int] = deque([-(2**62)] * 2, maxlen=2)
        self._first_sample: int | None = None
        self._last_sample = 0
        self._seams = Seams()
        self._failures = 0
        self._given_up = False
        self._source = self._read()
        self.busy_seconds = 0.0

    def cut(self, hops: Sequence[int]) -> tuple[Floats, Integers]:
        """Cut the sound that the patches at these hops hear, without the gaps between them.

        Args: hops: (T,) where patches start, in 10 ms hops from time 0; T >= 1.
        Returns: waveform (S,), a whole number of hops and at most T * 98 of them, and (T,)
            int64: where each patch starts in it, in hops.
        """
        began = time.perf_counter()
        places: dict[int, int] = {}
        slices: list[Floats] = []
        length = 0
        for span in _spans(sorted(set(hops))):
            stop = span[-1] + PATCH_SPAN_HOPS
            slices.append(self._hear(span[0] * HOP_SAMPLES, stop * HOP_SAMPLES))
            places |= {hop: length + hop - span[0] for hop in span}
            length += stop - span[0]
        starts = np.array([places[hop] for hop in hops], dtype=np.int64)
        self.busy_seconds += time.perf_counter() - began
        return np.concatenate(slices), starts

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        if self._stream is None:
            return {Flag.NO_AUDIO}
        silent = self._first_sample is None
        found = {
            Flag.DAMAGED: self._bad_packets,
            Flag.AUDIO_UNREADABLE: self._given_up or (self._bad_packets and silent),
            Flag.AUDIO_GAPS: self._seams.gaps + self._seams.overlaps,
        }
        return {flag for flag, is_so in found.items() if is_so}

    def report(self, pictures: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        seams, first = self._seams, self._first_sample
        heard = (
            {}
            if first is None
            else {
                "audio_first_seconds": first / SAMPLE_RATE_HZ,
                "audio_last_seconds": self._last_sample / SAMPLE_RATE_HZ,
            }
        )
        return dataclasses.replace(
            pictures,
            audio_bad_packets=self._bad_packets,
            audio_gaps=seams.gaps,
            audio_gap_seconds=seams.gap_samples / SAMPLE_RATE_HZ,
            audio_overlaps=seams.overlaps,
            audio_format_changes=seams.format_changes,
            **heard,
        )

    @property
    def _bad_packets(self) -> int:
        return self._failures + (self._packets.bad_packets if self._packets else 0)

    def _hear(self, start: int, stop: int) -> Floats:
        """(stop - start,) samples; zeros outside the sound; where pieces overlap the later one."""
        while min(self._ends) < stop and (piece := next(self._source, None)) is not None:
            self._keep(piece)
            while self.kept_samples - len(self._pieces[0][1]) > KEPT_SAMPLES + stop - start:
                self.kept_samples -= len(self._pieces.popleft()[1])
        heard = np.zeros(stop - start, dtype=np.float32)
        for first, samples in self._pieces:
            low, high = max(first, start), min(first + len(samples), stop)
            if low < high:
                heard[low - start : high - start] = samples[low - first : high - first]
        return heard

    def _keep(self, piece: Piece) -> None:
        first, samples = piece
        self._pieces.append(piece)
        self._ends.append(first + len(samples))
        self.kept_samples += len(samples)
        if self._first_sample is None:
            self._first_sample = first
        self._last_sample = max(self._last_sample, first + len(samples))

    def _read(self) -> Iterator[Piece]:
        stream = self._stream
        if stream is None or self._packets is None:
            return
        if not stream.codec_context:  # nothing decodes it
            self._given_up = True
            return
        try:
            rate_hz = stream.codec_context.sample_rate or SAMPLE_RATE_HZ
            stamps = Stamps(stream.time_base or Fraction(1), rate_hz)
            yield from place(self._decode(stream, self._packets), stamps, self._seams)
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            self._given_up = True

    def _decode(self, stream: AudioStream, packets: PacketReader) -> Iterator[AudioFrame]:
        for packet in packets:
            try:
                yield from stream.decode(packet)
            except EndOfFile:
                return
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self._failures += 1


def _spans(hops: Sequence[int]) -> Iterator[list[int]]:
    """Group ascending hops whose patches touch or overlap."""
    span: list[int] = []
    for hop in hops:
        if span and hop > span[-1] + PATCH_SPAN_HOPS:
            yield span
            span = []
        span.append(hop)
    if span:
        yield span
