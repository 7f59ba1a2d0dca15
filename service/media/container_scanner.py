"""What is remembered of a clip while it goes by, to tell in the end whether it was cut."""

from __future__ import annotations

import struct
from typing import Final

OGG_MAGIC: Final = b"OggS"
HEAD_BYTES: Final = 2**20
_TAIL_BYTES: Final = 2**17
_BOX_HEADER_BYTES: Final = 16
_MIN_BOX_BYTES: Final = 8
_UNBOUNDED: Final = 2**63


class ContainerScanner:
    """The bytes of a clip in their order, and what is kept of them.

    head: the first MiB. size: how many have gone by.
    """

    def __init__(self) -> None:
        self.head = bytearray()
        self.size = 0
        self._tail = bytearray()
        self._box_header = bytearray()
        self._box_end = 0
        self._box_kind = b""

    def add(self, data: bytes) -> None:
        """The next bytes go by."""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        if self.head.startswith(OGG_MAGIC):
            self._tail += data[-_TAIL_BYTES:]
            del self._tail[:-_TAIL_BYTES]
        self._scan_boxes(data)
        self.size += len(data)

    def tail(self, max_bytes: int) -> bytes:
        """The last bytes so far of an Ogg file, at most 128 KiB."""
        return bytes(self._tail[-max_bytes:])

    def last_box(self) -> tuple[int, bytes]:
        """Where the outermost ISO box ends in which the bytes so far end, and its kind.

        Of one that goes on to the end of the file, or is none, nothing is known: no kind.
        """
        if len(self._box_header) < _MIN_BOX_BYTES:
            return self._box_end, self._box_kind
        return self._parse_box_header()

    def _scan_boxes(self, data: bytes) -> None:
        """Step from box to box; where they are none, nobody asks where that has led."""
        while True:
            place = self._box_end + len(self._box_header) - self.size
            if place >= len(data):
                return
            self._box_header += data[place : place + _BOX_HEADER_BYTES - len(self._box_header)]
            if len(self._box_header) < _BOX_HEADER_BYTES:
                return
            begin = self._box_end
            self._box_end, self._box_kind = self._parse_box_header()
            # it holds the head of the next one where a box is that small
            del self._box_header[: self._box_end - begin]

    def _parse_box_header(self) -> tuple[int, bytes]:
        length, kind = struct.unpack(">I4s", self._box_header[:_MIN_BOX_BYTES])
        if length == 1 and len(self._box_header) == _BOX_HEADER_BYTES:
            (length,) = struct.unpack(">Q", self._box_header[_MIN_BOX_BYTES:])
        if length < _MIN_BOX_BYTES:
            return _UNBOUNDED, b""
        return self._box_end + length, kind
