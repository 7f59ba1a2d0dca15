"""What is remembered of a clip while it goes by, to tell in the end whether it was cut."""

from __future__ import annotations

import struct
from typing import Final

OGG_PAGE: Final = b"OggS"
HEAD_BYTES: Final = 2**20
_TAIL_BYTES: Final = 2**17
_BOX_HEAD: Final = 16
_MIN_BOX: Final = 8
_NEVER: Final = 2**63


class Passage:
    """The bytes of a clip in their order, and what is kept of them.

    head: the first MiB. size: how many have gone by.
    """

    def __init__(self) -> None:
        self.head = bytearray()
        self.size = 0
        self._tail = bytearray()
        self._box = bytearray()
        self._end = 0
        self._kind = b""

    def add(self, data: bytes) -> None:
        """The next bytes go by."""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        if self.head.startswith(OGG_PAGE):
            self._tail += data[-_TAIL_BYTES:]
            del self._tail[:-_TAIL_BYTES]
        self._walk(data)
        self.size += len(data)

    def tail(self, most: int) -> bytes:
        """The last bytes so far of an Ogg file, at most 128 KiB."""
        return bytes(self._tail[-most:])

    def last_box(self) -> tuple[int, bytes]:
        """Where the outermost ISO box ends in which the bytes so far end, and its kind.

        Of one that goes on to the end of the file, or is none, nothing is known: no kind.
        """
        if len(self._box) < _MIN_BOX:
            return self._end, self._kind
        return self._read_box()

    def _walk(self, data: bytes) -> None:
        """Step from box to box; where they are none, nobody asks where that has led."""
        while True:
            place = self._end + len(self._box) - self.size
            if place >= len(data):
                return
            self._box += data[place : place + _BOX_HEAD - len(self._box)]
            if len(self._box) < _BOX_HEAD:
                return
            begin = self._end
            self._end, self._kind = self._read_box()
            # it holds the head of the next one where a box is that small
            del self._box[: self._end - begin]

    def _read_box(self) -> tuple[int, bytes]:
        length, kind = struct.unpack(">I4s", self._box[:_MIN_BOX])
        if length == 1 and len(self._box) == _BOX_HEAD:
            (length,) = struct.unpack(">Q", self._box[_MIN_BOX:])
        if length < _MIN_BOX:
            return _NEVER, b""
        return self._end + length, kind
