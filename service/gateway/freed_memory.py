"""Return of freed memory to the system: glibc keeps what a burst of large messages has taken."""

from __future__ import annotations

import asyncio
import ctypes
from typing import Final

TRIM_SECONDS: Final = 10.0
"""Interval at which freed memory is returned."""


async def return_freed_memory() -> None:
    """Return freed memory every TRIM_SECONDS until cancelled; without glibc there is none to do."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(trim, 0)
