"""How long an upload is waited for: it ends that comes too slowly, not at all, or too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.errors import GatewayDraining, UploadInterrupted
from service.office.drain import Drain
from service.settings import Settings

LOOK_SECONDS: Final = 0.5
"""From one look at whether the gateway's time is up to the next."""

T = TypeVar("T")


class Pace:
    """Of one upload; only the time that is spent waiting for the client counts."""

    def __init__(self, settings: Settings, drain: Drain) -> None:
        self._idle_seconds = settings.upload_idle_seconds
        self._min_rate = settings.upload_min_bytes_per_second
        self._overdue = drain.overdue
        self._seconds = 0.0
        self._bytes = 0

    async def wait_for(
        self, read: Callable[[], Awaitable[T]], weigh: Callable[[T], int | None]
    ) -> T:
        """What is read next; `weigh` tells its bytes, or None of what is the last.

        Raises: UploadInterrupted, GatewayDraining.
        """
        started = time.monotonic()
        part = await self._next(read)
        weight = weigh(part)
        self._seconds += time.monotonic() - started
        self._bytes += weight or 0
        if weight is not None and self._seconds >= self._idle_seconds:
            self._judge()
        return part

    async def _next(self, read: Callable[[], Awaitable[T]]) -> T:
        waiting_until = time.monotonic() + self._idle_seconds
        reading = asyncio.ensure_future(read())
        try:
            while (left := waiting_until - time.monotonic()) > 0:
                if self._overdue.is_set():
                    raise GatewayDraining("the upload did not end in the time that was left")
                if (await asyncio.wait({reading}, timeout=min(left, LOOK_SECONDS)))[0]:
                    return reading.result()
        finally:
            reading.cancel()
        raise UploadInterrupted(f"nothing came for {self._idle_seconds:g} s")

    def _judge(self) -> None:
        """Look at one span of `upload_idle_seconds` of waiting, and begin the next."""
        if self._bytes < self._min_rate * self._seconds:
            raise UploadInterrupted(
                f"{self._bytes} bytes came in {self._seconds:.0f} s, "
                f"and {self._min_rate:g} bytes/s are the least"
            )
        self._seconds, self._bytes = 0.0, 0
