"""How much room a file system has, asked seldom."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

_CACHE_SECONDS: Final = 0.25


class FreeSpace:
    """The free bytes below a folder, whether it exists yet or not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free_bytes = 0
        self._cached_until = 0.0

    async def free_bytes(self) -> int:
        """As of a quarter of a second ago at most. Raises: OSError."""
        if time.monotonic() >= self._cached_until:
            self._free_bytes = await asyncio.to_thread(measure_free_bytes, self._folder)
            self._cached_until = time.monotonic() + _CACHE_SECONDS
        return self._free_bytes


def measure_free_bytes(folder: Path) -> int:
    """What this user may still write there. Raises: OSError."""
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
