"""How far the end of this gateway is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """Two events, set in this order when the gateway is told to stop.

    announced: readiness fails, and each answer asks its client to connect anew elsewhere.
    overdue: what is still being sent to us is refused.
    """

    announced: asyncio.Event = field(default_factory=asyncio.Event)
    overdue: asyncio.Event = field(default_factory=asyncio.Event)
