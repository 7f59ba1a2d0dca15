"""How long an answer may lie there without its client taking any of it."""

from __future__ import annotations

import asyncio


class WriteStallTimer:
    """The clock of one connection."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._deadline: float | None = None

    def restart(self) -> None:
        """The client has taken most of what lay there."""
        self._deadline = None

    def is_overdue(self, transport: asyncio.Transport, now_seconds: float) -> bool:
        """Whether nothing was taken for too long; asked now and then."""
        if not (transport.get_write_buffer_size() or transport.is_closing()):
            self._deadline = None
        elif self._deadline is None:
            self._deadline = now_seconds + self._stall_seconds
        return self._deadline is not None and now_seconds > self._deadline
