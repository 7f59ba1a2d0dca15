"""Growing file: a clip that is read once, from its first byte to its last, while it arrives."""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

OGG_MAGIC: Final = b"OggS"
HEAD_BYTES: Final = 2**20
"""First bytes of a file that are stored."""
_TAIL_BYTES: Final = 2**17
_BOX_HEADER_BYTES: Final = 16
_MIN_BOX_BYTES: Final = 8
_UNBOUNDED: Final = 2**63


class ContainerScanner:
    """Scans a container's bytes in order for what truncation checks need afterwards.

    head: the first MiB. size: bytes so far.
    """

    def __init__(self) -> None:
        self.head = bytearray()
        self.size = 0
        self._tail = bytearray()
        self._box_header = bytearray()
        self._box_end = 0
        self._box_kind = b""

    def add(self, data: bytes) -> None:
        """Scan the next bytes."""
        if len(self.head) < HEAD_BYTES:
            self.head += data[: HEAD_BYTES - len(self.head)]
        if self.head.startswith(OGG_MAGIC):
            self._tail += data[-_TAIL_BYTES:]
            del self._tail[:-_TAIL_BYTES]
        self._scan_boxes(data)
        self.size += len(data)

    def tail(self, max_bytes: int) -> bytes:
        """Return the last bytes so far of an Ogg file, at most 128 KiB."""
        return bytes(self._tail[-max_bytes:])

    def last_box(self) -> tuple[int, bytes]:
        """End offset and type of the top-level ISO box that the last byte so far belongs to.

        The type is empty for a box that extends to the end of the file, and for invalid ones.
        """
        if len(self._box_header) < _MIN_BOX_BYTES:
            return self._box_end, self._box_kind
        return self._parse_box_header()

    def _scan_boxes(self, data: bytes) -> None:
        """Step from box to box; on files without boxes the outcome is meaningless and unused."""
        while True:
            place = self._box_end + len(self._box_header) - self.size
            if place >= len(data):
                return
            self._box_header += data[place : place + _BOX_HEADER_BYTES - len(self._box_header)]
            if len(self._box_header) < _BOX_HEADER_BYTES:
                return
            begin = self._box_end
            self._box_end, self._box_kind = self._parse_box_header()
            # a box shorter than the buffer leaves the beginning of the next header in it
            del self._box_header[: self._box_end - begin]

    def _parse_box_header(self) -> tuple[int, bytes]:
        length, kind = struct.unpack(">I4s", self._box_header[:_MIN_BOX_BYTES])
        if length == 1 and len(self._box_header) == _BOX_HEADER_BYTES:
            (length,) = struct.unpack(">Q", self._box_header[_MIN_BOX_BYTES:])
        if length < _MIN_BOX_BYTES:
            return _UNBOUNDED, b""
        return self._box_end + length, kind


class GrowingFile:
    """Bytes that one thread puts and another reads, as a file object that cannot seek (for PyAV).

    scanner: sees all bytes that were put. waited_seconds: time that reads have blocked.
    arrived_at: arrival time of the newest byte read. read_bytes: bytes read so far.
    """

    def __init__(self, on_exhausted: Callable[[int], None] | None = None) -> None:
        """on_exhausted: called with the bytes used so far when a read has to wait for more."""
        self._changed = threading.Condition()
        self._blocks: deque[tuple[memoryview, float]] = deque()
        self._unread = 0
        self._has_ended = False
        self._is_closed = False
        self._on_exhausted = on_exhausted
        self.scanner = ContainerScanner()
        self.waited_seconds = 0.0
        self.arrived_at = 0.0
        self.read_bytes = 0

    @property
    def unread_bytes(self) -> int:
        """Bytes that were put and not read."""
        return self._unread

    @property
    def has_ended(self) -> bool:
        """True once the last byte was put."""
        return self._has_ended

    def put(self, data: bytes, arrived_at: float) -> None:
        """Append the next bytes."""
        if not data:
            return
        with self._changed:
            self.scanner.add(data)
            if not self._is_closed:
                self._blocks.append((memoryview(data), arrived_at))
                self._unread += len(data)
                self._changed.notify_all()

    def wait_for_capacity(self, max_unread_bytes: int) -> None:
        """Block until at most this many bytes are unread."""
        with self._changed:
            self._changed.wait_for(lambda: self._unread <= max_unread_bytes)

    def end(self) -> None:
        """Mark the file as complete."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Drop unread bytes and ignore further ones; reads return nothing."""
        with self._changed:
            self._is_closed = True
            self._blocks.clear()
            self._unread = 0
            self._changed.notify_all()

    def wait_for_head(self, max_bytes: int) -> bytes:
        """Block for the first `max_bytes` bytes; fewer where the file has ended."""
        with self._changed:
            head = self.scanner.head
            while len(head) < max_bytes and not self._is_over():
                self._wait(len(head))
            return bytes(head[:max_bytes])

    def read(self, size: int) -> bytes:
        """Block for at least one byte and return at most `size`; empty at the end."""
        with self._changed:
            while not self._blocks and not self._is_over():
                self._wait(self.read_bytes)
            parts: list[memoryview] = []
            while self._blocks and size > 0:
                block, self.arrived_at = self._blocks.popleft()
                if len(block) > size:
                    self._blocks.appendleft((block[size:], self.arrived_at))
                    block = block[:size]
                parts.append(block)
                size -= len(block)
                self._unread -= len(block)
                self.read_bytes += len(block)
            self._changed.notify_all()
        return b"".join(parts)

    def _wait(self, used_bytes: int) -> None:
        if self._on_exhausted is not None:
            self._on_exhausted(used_bytes)
        began = time.perf_counter()
        self._changed.wait()
        self.waited_seconds += time.perf_counter() - began

    def _is_over(self) -> bool:
        return self._has_ended or self._is_closed
