"""Final results come by the hundred; of all streams together, so many go at a time."""

from __future__ import annotations

import asyncio
from typing import Final

RESULTS_PER_BURST: Final = 8
BURST_PAUSE_SECONDS: Final = 0.005


class ResultPacer:
    """Shared by the streams of a gateway: between portions, provisional results get through."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self, result_index: int) -> None:
        """Before the result of this number, from 0, of those that a stream has to tell."""
        if result_index and result_index % RESULTS_PER_BURST == 0:
            async with self._lock:
                await asyncio.sleep(BURST_PAUSE_SECONDS)
