"""Sound as mono 16 kHz on the frames' time axis: sample n is heard at n / 16000 seconds.

Sound is read from its own opening of the file, so how a container interleaves it never
matters, and only as far as the frames have come, so memory does not grow with the clip.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError

from service.domain.array_types import Float32Array, Int64Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from service.domain.media import Anomalies, Flag
from service.media.audio_buffer import RETAINED_SAMPLES, AudioBuffer
from service.media.audio_patches import cut_patches
from service.media.packets import PacketReader
from service.media.resample import AudioSegment, TimestampReader, resample_frames


class AudioReader:
    """The sound of one clip; silence where there is none."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream | None,
        buffer: AudioBuffer | None = None,
    ) -> None:
        """Read a sound stream of a container that nobody else reads; None: silence.

        Args: track: where the caller puts the pieces; by default it is this one's own.
        """
        self._stream = stream
        self._packets = None if stream is None else PacketReader(container, stream)
        self.buffer = AudioBuffer() if buffer is None else buffer
        self._failures = 0
        self._has_given_up = False
        self._segments = self._read_segments()
        self.busy_seconds = 0.0

    @property
    def stored_samples(self) -> int:
        """Samples in memory."""
        return self.buffer.stored_samples

    def read_segment(self) -> AudioSegment | None:
        """The next piece, which the caller puts on the track; None: the sound has ended."""
        return next(self._segments, None)

    def read_patches(self, hops: Sequence[int]) -> tuple[Float32Array, Int64Array]:
        """Read and cut the sound that the patches at these hops hear, as `cut_patches` has it."""
        began = time.perf_counter()
        cut = cut_patches(hops, self._read_samples)
        self.busy_seconds += time.perf_counter() - began
        return cut

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        if self._stream is None:
            return {Flag.NO_AUDIO}
        silent, seams = self.buffer.first_sample is None, self.buffer.discontinuities
        found = {
            Flag.DAMAGED: self._bad_packets,
            Flag.AUDIO_UNREADABLE: self._has_given_up or (self._bad_packets and silent),
            Flag.AUDIO_GAPS: seams.gaps + seams.overlaps,
        }
        return {flag for flag, is_so in found.items() if is_so}

    def add_anomalies(self, video: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return self.buffer.add_anomalies(video, bad_packets=self._bad_packets)

    @property
    def _bad_packets(self) -> int:
        return self._failures + (self._packets.bad_packets if self._packets else 0)

    def _read_samples(self, start: int, stop: int) -> Float32Array:
        while self.buffer.complete_until < stop and (piece := self.read_segment()) is not None:
            self.buffer.append(piece, RETAINED_SAMPLES + stop - start)
        return self.buffer.read(start, stop)

    def _read_segments(self) -> Iterator[AudioSegment]:
        stream = self._stream
        if stream is None or self._packets is None:
            return
        if not stream.codec_context:  # nothing decodes it
            self._has_given_up = True
            return
        try:
            rate_hz = stream.codec_context.sample_rate or SAMPLE_RATE_HZ
            stamps = TimestampReader(stream.time_base or Fraction(1), rate_hz)
            yield from resample_frames(
                self._decode(stream, self._packets), stamps, self.buffer.discontinuities
            )
        except (FFmpegError, ValueError) as error:
            if isinstance(error, MemoryError):
                raise
            self._has_given_up = True

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
