"""Length of a connection's reads, adapted to what their bytes cost."""

from __future__ import annotations

from typing import Final

MIN_READ_BYTES: Final = 2**10


class AdaptiveReadSize:
    """Number of bytes of the next read: twice those of the last one, or few if it was costly.

    The time that the event loop spends on a read depends on the number of pieces in it (chunks of
    a body, frames of a WebSocket) rather than on its bytes. Short reads keep one connection with
    tiny pieces from delaying the others; what is not read stays with the kernel.
    """

    def __init__(self, *, max_bytes: int, max_pieces: int) -> None:
        self.pieces = 0
        self.next_bytes = MIN_READ_BYTES
        self._max_bytes = max_bytes
        self._max_pieces = max_pieces

    def adapt(self) -> None:
        """Choose the length of the next read; called after each, when `pieces` are counted."""
        if self.pieces > self._max_pieces:
            self.next_bytes = MIN_READ_BYTES
        else:
            self.next_bytes = min(2 * self.next_bytes, self._max_bytes)
        self.pieces = 0
