"""The packets of one stream to the end of the file, past reads that fail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from av.audio.stream import AudioStream
from av.container import Flags, InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.stream import VideoStream

MAX_BAD_READS: Final = 1000
"""Failing reads in a row after which the rest of a damaged file is given up."""


class PacketReader:
    """Iterates once over a stream's packets; the last, empty one flushes the decoder.

    An empty packet on the way means "as before" to some codecs, and would flush others: left out.
    """

    def __init__(self, container: InputContainer, stream: VideoStream | AudioStream) -> None:
        # PyAV asks FFmpeg to invent presentation times, which spoils those of reordered frames
        container.flags &= ~Flags.gen_pts.value
        self._container = container
        self._stream = stream
        self.bad_packets = 0
        """Reads that failed and packets that are marked as damaged, so far."""

    def __iter__(self) -> Iterator[Packet]:
        failures = 0
        while failures < MAX_BAD_READS:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    self.bad_packets += packet.is_corrupt
                    if packet.size or packet.dts is None:
                        yield packet
            except FFmpegError as error:
                if isinstance(error, MemoryError):
                    raise
                self.bad_packets += 1
                failures += 1
            else:
                return
        yield Packet()
