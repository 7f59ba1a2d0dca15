"""Bytes of a clip that is still coming, as a file that is read once from its first to its last."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from service.media.container_scanner import ContainerScanner


class GrowingFile:
    """One thread puts bytes in, another reads them; PyAV takes it for a file without seeking.

    waited_seconds: what reading has waited for bytes so far. arrived_at: when the newest byte
    came that was read. read_bytes: how many were read. passage: of all that were put in.
    """

    def __init__(self, on_exhausted: Callable[[int], None] | None = None) -> None:
        """Args: on_dry: told, with the bytes so far, that all were read and more are wanted."""
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
        """Bytes that are here and were not read."""
        return self._unread

    @property
    def has_ended(self) -> bool:
        """Whether no more bytes will come."""
        return self._has_ended

    def put(self, data: bytes, arrived_at: float) -> None:
        """Add the next bytes."""
        if not data:
            return
        with self._changed:
            self.scanner.add(data)
            if not self._is_closed:
                self._blocks.append((memoryview(data), arrived_at))
                self._unread += len(data)
                self._changed.notify_all()

    def wait_for_capacity(self, max_unread_bytes: int) -> None:
        """Wait until at most so many bytes are unread."""
        with self._changed:
            self._changed.wait_for(lambda: self._unread <= max_unread_bytes)

    def end(self) -> None:
        """No more bytes will come."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Read nothing more, and keep nothing that comes."""
        with self._changed:
            self._is_closed = True
            self._blocks.clear()
            self._unread = 0
            self._changed.notify_all()

    def wait_for_head(self, max_bytes: int) -> bytes:
        """The first bytes, as many as there are once they are so many or the last have come."""
        with self._changed:
            head = self.scanner.head
            while len(head) < max_bytes and not self._is_over():
                self._wait(len(head))
            return bytes(head[:max_bytes])

    def read(self, size: int) -> bytes:
        """At least one byte, waiting for it, and at most `size`; none: that was the last."""
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
