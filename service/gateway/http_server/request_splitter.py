"""Received bytes, cut so that the parser never sees the beginning of a second request."""

from __future__ import annotations

from typing import Final

SEPARATOR: Final = b"\r\n\r\n"
"""End of a head, and of a chunked body: after the last chunk, or after the trailers."""


class RequestSplitter:
    """Received bytes that are not parsed yet.

    A request ends at SEPARATOR, or with the last byte of a body whose length is known. A piece
    extends beyond neither, so that whatever follows it stays here until it is asked for. SEPARATOR
    within a body only makes a piece shorter.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._tail = b""

    def __len__(self) -> int:
        return len(self._bytes)

    def append(self, data: bytes) -> None:
        """Add bytes in the order in which they were received."""
        self._bytes += data

    def take(self, body_bytes: int | None) -> bytes:
        """Remove and return the next piece.

        Args: body_bytes: remaining bytes of a body with a Content-Length; 0 or None: a head, or a
            chunked body.
        """
        length = body_bytes or self._find_separator_end()
        piece = bytes(self._bytes[:length])
        del self._bytes[:length]
        is_split = not body_bytes and length > len(piece)
        self._tail = (self._tail + piece)[1 - len(SEPARATOR) :] if is_split else b""
        return piece

    def _find_separator_end(self) -> int:
        """Return the end of the first separator, or a number greater than the bytes' length."""
        overlap = len(self._tail)
        start = (self._tail + self._bytes[: len(SEPARATOR)]).find(SEPARATOR) if overlap else -1
        if start >= 0:
            return start + len(SEPARATOR) - overlap
        start = self._bytes.find(SEPARATOR)
        return start + len(SEPARATOR) if start >= 0 else len(self._bytes) + 1
