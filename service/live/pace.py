"""Final results come by the hundred; of all streams together, so many go at a time."""

from __future__ import annotations

import asyncio
from typing import Final

RESULTS_AT_ONCE: Final = 8
PAUSE_SECONDS: Final = 0.005


class Pace:
    """Shared by the streams of a gateway: between portions, provisional results get through."""

    def __init__(self) -> None:
        self._is_taken = asyncio.Lock()

    async def wait(self, number: int) -> None:
        """Before the result of this number, from 0, of those that a stream has to tell."""
        if number and number % RESULTS_AT_ONCE == 0:
            async with self._is_taken:
                await asyncio.sleep(PAUSE_SECONDS)
