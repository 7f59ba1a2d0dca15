"""Audio of a clip: mono, 16 kHz, on the frames' time axis, so sample n is at n / 16000 seconds.

The audio stream is read from its own opening of the file, so interleaving does not matter, and
only as far as the frames have been read, so memory does not grow with the clip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Final

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from service.domain.array_types import Float32Array, Int64Array
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES, SAMPLE_RATE_HZ
from service.domain.media import Anomalies, Flag
from service.media.audio_buffer import RETAINED_SAMPLES, AudioBuffer
from service.media.audio_decoding import AudioDecoder
from service.media.audio_timestamps import TimestampReader
from service.media.resample import AudioSegment, PlacedResampler, resample_frames
from service.media.stream_selection import rank_audio_streams

PATCH_SPAN_HOPS: Final = -(-PATCH_SAMPLES // HOP_SAMPLES)
"""Hops that a patch spans: 98."""

ReadSamples = Callable[[int, int], Float32Array]
"""Returns the samples in [start, stop); zeros where there is no audio."""


class AudioReader:
    """Audio of one clip; silence where there is none."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream | None,
        buffer: AudioBuffer | None = None,
        *,
        others: Sequence[AudioStream] = (),
    ) -> None:
        """Read an audio stream of a container that has no other reader; None: silence.

        Args: buffer: where the caller appends the segments; by default a new one. others: streams
            that are read, in this order, if the first cannot be decoded.
        """
        self._decoder = None if stream is None else AudioDecoder(container, [stream, *others])
        self._is_counted = container.format.name == "avi"
        self.buffer = AudioBuffer() if buffer is None else buffer
        self._resampler = PlacedResampler(self.buffer.discontinuities)
        self._is_unreadable = False
        self._has_ended = False
        self._segments = self._read_segments()
        self.busy_seconds = 0.0

    @property
    def stream(self) -> AudioStream | None:
        """The stream that is read; once its first frame was decoded it does not change."""
        return None if self._decoder is None else self._decoder.stream

    def prove_stream(self) -> None:
        """Decode the first frame, so that `stream` is one that can be decoded, if there is one."""
        if self._decoder is not None:
            try:
                self._decoder.prove()
            except (FFmpegError, ValueError) as error:
                if isinstance(error, MemoryError):
                    raise
                self._is_unreadable = True

    @property
    def stored_samples(self) -> int:
        """Samples in memory."""
        return self.buffer.stored_samples

    def read_segment(self) -> AudioSegment | None:
        """Decode the next segment, which the caller appends to the buffer; None: end of audio."""
        return next(self._segments, None)

    def read_patches(self, hops: Sequence[int]) -> tuple[Float32Array, Int64Array]:
        """Decode and cut the audio of the patches at these hops; see `cut_patches`."""
        began = time.perf_counter()
        cut = cut_patches(hops, self._read_samples)
        self.busy_seconds += time.perf_counter() - began
        return cut

    def flags(self) -> set[Flag]:
        """Flags of the audio so far."""
        decoder = self._decoder
        if decoder is None:
            return {Flag.NO_AUDIO}
        is_silent = self.buffer.first_sample is None and self._has_ended
        is_empty = is_silent and decoder.has_decoder and not decoder.packets
        discontinuities = self.buffer.discontinuities
        found = {
            Flag.DAMAGED: self._bad_packets,
            Flag.NO_AUDIO: is_empty,
            Flag.AUDIO_UNREADABLE: self._is_unreadable
            or decoder.is_hopeless
            or (is_silent and not is_empty),
            Flag.AUDIO_STREAM_SKIPPED: decoder.is_skipping,
            Flag.AUDIO_OPPOSITE_PHASE: self._resampler.has_cancelled,
            Flag.AUDIO_GAPS: discontinuities.gaps + discontinuities.overlaps,
        }
        return {flag for flag, is_set in found.items() if is_set}

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add the anomalies of the audio so far to those of the video."""
        return self.buffer.add_anomalies(video, bad_packets=self._bad_packets)

    @property
    def _bad_packets(self) -> int:
        return self._decoder.bad_packets if self._decoder else 0

    def _read_samples(self, start: int, stop: int) -> Float32Array:
        while self.buffer.complete_until < stop and (segment := self.read_segment()) is not None:
            self.buffer.append(segment, RETAINED_SAMPLES + stop - start)
        return self.buffer.read(start, stop)

    def _read_segments(self) -> Iterator[AudioSegment]:
        decoder = self._decoder
        if decoder is None:
            return
        try:
            decoder.prove()  # the clock is that of the stream which is read
            clock = TimestampReader(
                decoder.stream.time_base or Fraction(1),
                decoder.declared_hz or SAMPLE_RATE_HZ,
                is_counted=self._is_counted,
            )
            yield from resample_frames(decoder, clock, self._resampler)
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            self._is_unreadable = True
        self._has_ended = True


def open_audio(
    container: InputContainer, stream_index: int | None, buffer: AudioBuffer | None = None
) -> AudioReader:
    """Read the requested audio stream, else the best-placed that can be decoded.

    Raises: MediaStreamUnknown: the requested stream is no audio.
    """
    ranked = rank_audio_streams(container, stream_index)
    return AudioReader(container, ranked[0] if ranked else None, buffer, others=ranked[1:])


def cut_patches(hops: Sequence[int], read_samples: ReadSamples) -> tuple[Float32Array, Int64Array]:
    """Cut the audio that the patches at these hops cover, without the gaps between them.

    Args: hops: (T,) starts of the patches, in 10 ms hops from time 0; T >= 1.
    Returns: waveform (S,), a whole number of hops and at most T * 98 of them, and (T,)
        int64: start of each patch in it, in hops.
    """
    places: dict[int, int] = {}
    slices: list[Float32Array] = []
    length = 0
    for span in _group_spans(sorted(set(hops))):
        stop = span[-1] + PATCH_SPAN_HOPS
        slices.append(read_samples(span[0] * HOP_SAMPLES, stop * HOP_SAMPLES))
        places |= {hop: length + hop - span[0] for hop in span}
        length += stop - span[0]
    return np.concatenate(slices), np.array([places[hop] for hop in hops], dtype=np.int64)


def _group_spans(hops: Sequence[int]) -> Iterator[list[int]]:
    """Group ascending hops whose patches touch or overlap."""
    span: list[int] = []
    for hop in hops:
        if span and hop > span[-1] + PATCH_SPAN_HOPS:
            yield span
            span = []
        span.append(hop)
    if span:
        yield span
