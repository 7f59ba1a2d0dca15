"""Sound as mono 16 kHz on the frames' time axis: sample n is heard at n / 16000 seconds.

Sound is read from its own opening of the file, so how a container interleaves it never
matters, and only as far as the frames have come, so memory does not grow with the clip.
"""

from __future__ import annotations

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
from service.domain.clip import Flag
from service.domain.time import HOP_SAMPLES, PATCH_SAMPLES, SAMPLE_RATE_HZ
from service.media.demux import best_sound
from service.media.resample import Piece, place

PATCH_SPAN_HOPS: Final = -(-PATCH_SAMPLES // HOP_SAMPLES)
"""98 hops hold a patch."""
KEPT_SAMPLES: Final = 2 * SAMPLE_RATE_HZ
"""Sound kept beyond what one chunk hears: the last second, and what decoding runs ahead."""
MOST_BAD_PACKETS: Final = 50
"""Failing packets in a row after which a sound stream is given up."""


class Sound:
    """The sound of one clip; silence where there is none."""

    def __init__(self, container: InputContainer) -> None:
        """Read the best sound stream of a container that nobody else reads."""
        self._stream = best_sound(container)
        self._pieces: deque[Piece] = deque()
        self.kept_samples = 0
        # two ends: one piece with a wild timestamp does not make the sound seem read
        self._ends: deque[int] = deque([-(2**62)] * 2, maxlen=2)
        self._heard_anything = False
        self._bad_packets = 0
        self._given_up = False
        self._source = self._read(container)
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
        damaged = {Flag.DAMAGED} if self._bad_packets else set[Flag]()
        unreadable = self._given_up or (self._bad_packets and not self._heard_anything)
        return damaged | ({Flag.AUDIO_UNREADABLE} if unreadable else set[Flag]())

    def _hear(self, start: int, stop: int) -> Floats:
        """(stop - start,) samples; zeros outside the sound; where pieces overlap the later one."""
        while min(self._ends) < stop and (piece := next(self._source, None)) is not None:
            self._pieces.append(piece)
            self._ends.append(piece[0] + len(piece[1]))
            self.kept_samples += len(piece[1])
            while self.kept_samples - len(self._pieces[0][1]) > KEPT_SAMPLES + stop - start:
                self.kept_samples -= len(self._pieces.popleft()[1])
        heard = np.zeros(stop - start, dtype=np.float32)
        for first, samples in self._pieces:
            low, high = max(first, start), min(first + len(samples), stop)
            if low < high:
                heard[low - start : high - start] = samples[low - first : high - first]
        return heard

    def _read(self, container: InputContainer) -> Iterator[Piece]:
        stream = self._stream
        if stream is None:
            return
        try:
            yield from place(self._decode(container, stream), stream.time_base or Fraction(1))
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            self._given_up = True

    def _decode(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        failures = 0
        for packet in container.demux(stream):
            try:
                frames = stream.decode(packet)
            except EndOfFile:
                return
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self._bad_packets += 1
                failures += 1
                self._given_up = failures >= MOST_BAD_PACKETS
                if self._given_up:
                    return
                continue
            if frames:
                self._heard_anything, failures = True, 0
            yield from frames


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
