"""Decoding of the first audio stream of a file that can be decoded, as its packets show."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from service.media.demux import StreamDecoder, read_packets
from service.media.stream_selection import has_audio_decoder

_MAX_TRIED_PACKETS: Final = 50
"""Packets without a frame after which a stream is given up for another: about 1 s."""
_PROOF_FRAMES: Final = 3
_HOPELESS: Final = 10
_MAX_WAITING_PACKETS: Final = 5_000
_MAX_WAITING_BYTES: Final = 4 * 2**20
"""Packets of others, in all, after which a stream without any is given up: about a minute."""


@dataclass(slots=True, kw_only=True)
class _Candidate:
    """A stream that has a decoder, and its packets that wait for it to be chosen.

    declared_hz: sample rate before the first frame, by which the demuxer counts; 0: unknown.
    packets: given to the decoder so far; frames: that it has returned. is_proven: True once most
    packets could be decoded; decoders make a frame of noise now and then.
    """

    stream: AudioStream
    declared_hz: int
    decoder: StreamDecoder[AudioFrame]
    waiting: deque[Packet[Stream]]
    packets: int = 0
    frames: int = 0
    is_proven: bool = False

    def decode(self, packet: Packet[Stream]) -> Sequence[AudioFrame]:
        frames = self.decoder.decode(packet)
        self.frames += len(frames)
        self.is_proven |= self.frames >= max(_PROOF_FRAMES, self.decoder.failed_packets + 1)
        return frames


class AudioDecoder:
    """Iterates once over the decoded frames of the first of some streams that can be decoded.

    stream: the one that is decoded, the best-placed if none can be.
    """

    def __init__(self, container: InputContainer, streams: Sequence[AudioStream]) -> None:
        """Decode one of these streams, the best-placed first; the container has no other reader."""
        self.stream = streams[0]
        self._best = streams[0]
        self._container = container
        self._candidates = [
            _Candidate(
                stream=stream,
                declared_hz=stream.codec_context.sample_rate or 0,
                decoder=StreamDecoder(container, stream),
                waiting=deque(),
            )
            for stream in streams
            if has_audio_decoder(stream)
        ]
        self._chosen: _Candidate | None = None
        self._frames = self._decode()

    def __iter__(self) -> Iterator[AudioFrame]:
        return self._frames

    @property
    def has_decoder(self) -> bool:
        """True if there is a decoder for one of the streams."""
        return bool(self._candidates)

    @property
    def is_skipping(self) -> bool:
        """True if a better-placed stream could not be decoded."""
        return self.stream is not self._best

    @property
    def declared_hz(self) -> int:
        """Sample rate by which the demuxer counts; 0: unknown."""
        return 0 if self._chosen is None else self._chosen.declared_hz

    @property
    def is_hopeless(self) -> bool:
        """True if hardly a packet could be decoded: what was may be noise."""
        chosen = self._chosen
        return chosen is not None and chosen.decoder.failed_packets > _HOPELESS * chosen.frames

    @property
    def packets(self) -> int:
        """Packets of the stream so far."""
        return 0 if self._chosen is None else self._chosen.packets

    @property
    def bad_packets(self) -> int:
        """Failed reads, damaged packets and those that failed to decode, so far."""
        return 0 if self._chosen is None else self._chosen.decoder.bad_packets

    def prove(self) -> None:
        """Decode the first frame, which tells the stream that can be decoded."""
        first = next(self._frames, None)
        if first is not None:
            self._frames = chain([first], self._frames)

    def _decode(self) -> Iterator[AudioFrame]:
        candidates = self._candidates
        streams = [each.stream for each in candidates]
        packets = read_packets(self._container, streams, self._count_failed_read)
        for candidate in candidates:
            self._chosen, self.stream = candidate, candidate.stream
            is_last = candidate is candidates[-1]
            unproven: list[AudioFrame] = []
            for packet in self._read_chosen(candidate, packets):
                unproven += candidate.decode(packet)
                if is_last or candidate.is_proven:
                    self._candidates = [candidate]  # the packets of the others wait no more
                    yield from unproven
                    unproven.clear()
                elif candidate.packets >= _MAX_TRIED_PACKETS:
                    break
            else:
                flush: Packet[Stream] = Packet()
                unproven += candidate.decode(flush)
                if candidate.frames > candidate.decoder.failed_packets or candidate.is_proven:
                    yield from unproven
                    return
        if candidates and not candidates[-1].frames:
            self._chosen, self.stream = candidates[0], candidates[0].stream

    def _read_chosen(
        self, chosen: _Candidate, packets: Iterator[Packet[Stream]]
    ) -> Iterator[Packet[Stream]]:
        """Yield the packets of one stream; those of others wait, or are dropped once it is sure."""
        while chosen.waiting:
            chosen.packets += 1
            yield chosen.waiting.popleft()
        waiting_packets = waiting_bytes = 0
        for packet in packets:
            if packet.stream.index == chosen.stream.index:
                chosen.packets += bool(packet.size)
                yield packet
            elif len(self._candidates) > 1:
                self._keep(packet)
                waiting_packets, waiting_bytes = waiting_packets + 1, waiting_bytes + packet.size
            if waiting_packets > _MAX_WAITING_PACKETS or waiting_bytes > _MAX_WAITING_BYTES:
                return

    def _keep(self, packet: Packet[Stream]) -> None:
        for each in self._candidates:
            if each.stream.index == packet.stream.index:
                each.waiting.append(packet)

    def _count_failed_read(self) -> None:
        if self._chosen is not None:
            self._chosen.decoder.count_failed_read()
