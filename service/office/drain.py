"""How far the end of this gateway is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownState:
    """Three events, set in this order when the gateway is told to stop.

    announced: readiness fails, and each answer asks its client to connect anew elsewhere.
    closing: nobody is let in any more; streams end.
    overdue: what is still being sent to us is refused.
    """

    announced: asyncio.Event = field(default_factory=asyncio.Event)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    overdue: asyncio.Event = field(default_factory=asyncio.Event)

    def begin_closing(self, seconds: float) -> None:
        """Let nobody in from now on; what is under way has so long."""
        self.announced.set()
        self.closing.set()
        asyncio.get_running_loop().call_later(seconds, self.overdue.set)
