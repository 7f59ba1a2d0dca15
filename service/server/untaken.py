"""How long an answer may lie there without its client taking any of it."""

from __future__ import annotations

import asyncio


class Untaken:
    """The clock of one connection."""

    def __init__(self, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._due: float | None = None

    def restart(self) -> None:
        """The client has taken most of what lay there."""
        self._due = None

    def is_overdue(self, transport: asyncio.Transport, now_seconds: float) -> bool:
        """Whether nothing was taken for too long; asked now and then."""
        if not (transport.get_write_buffer_size() or transport.is_closing()):
            self._due = None
        elif self._due is None:
            self._due = now_seconds + self._stall_seconds
        return self._due is not None and now_seconds > self._due
