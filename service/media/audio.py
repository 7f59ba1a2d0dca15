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

from service.domain.arrays import Floats, Integers
from service.domain.media import Anomalies, Flag
from service.domain.time import SAMPLE_RATE_HZ
from service.media.packets import PacketReader
from service.media.patches import cut_patches
from service.media.resample import Piece, Stamps, place
from service.media.track import KEPT_SAMPLES, SoundTrack


class Sound:
    """The sound of one clip; silence where there is none."""

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream | None,
        track: SoundTrack | None = None,
    ) -> None:
        """Read a sound stream of a container that nobody else reads; None: silence.

        Args: track: where the caller puts the pieces; by default it is this one's own.
        """
        self._stream = stream
        self._packets = None if stream is None else PacketReader(container, stream)
        self.track = SoundTrack() if track is None else track
        self._failures = 0
        self._given_up = False
        self._source = self._read()
        self.busy_seconds = 0.0

    @property
    def kept_samples(self) -> int:
        """Samples in memory."""
        return self.track.kept_samples

    def advance(self) -> Piece | None:
        """The next piece, which the caller puts on the track; None: the sound has ended."""
        return next(self._source, None)

    def cut(self, hops: Sequence[int]) -> tuple[Floats, Integers]:
        """Read and cut the sound that the patches at these hops hear, as `cut_patches` has it."""
        began = time.perf_counter()
        cut = cut_patches(hops, self._hear)
        self.busy_seconds += time.perf_counter() - began
        return cut

    def flags(self) -> set[Flag]:
        """What is known of the sound so far."""
        if self._stream is None:
            return {Flag.NO_AUDIO}
        silent, seams = self.track.first_sample is None, self.track.seams
        found = {
            Flag.DAMAGED: self._bad_packets,
            Flag.AUDIO_UNREADABLE: self._given_up or (self._bad_packets and silent),
            Flag.AUDIO_GAPS: seams.gaps + seams.overlaps,
        }
        return {flag for flag, is_so in found.items() if is_so}

    def report(self, pictures: Anomalies) -> Anomalies:
        """Add what is known of the sound so far to what is known of the pictures."""
        return self.track.report(pictures, bad_packets=self._bad_packets)

    @property
    def _bad_packets(self) -> int:
        return self._failures + (self._packets.bad_packets if self._packets else 0)

    def _hear(self, start: int, stop: int) -> Floats:
        while self.track.reach < stop and (piece := self.advance()) is not None:
            self.track.keep(piece, KEPT_SAMPLES + stop - start)
        return self.track.read(start, stop)

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
            yield from place(self._decode(stream, self._packets), stamps, self.track.seams)
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
