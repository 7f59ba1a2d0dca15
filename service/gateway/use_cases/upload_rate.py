"""How long an upload is waited for: it ends that comes too slowly, not at all, or too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from service.errors import GatewayDraining, UploadInterrupted
from service.gateway.lifecycle import ShutdownState
from service.settings import Settings

OVERDUE_POLL_SECONDS: Final = 0.5
"""From one look at whether the gateway's time is up to the next."""

T = TypeVar("T")


class UploadRateGuard:
    """Of one upload; only the time that is spent waiting for the client counts."""

    def __init__(self, settings: Settings, drain: ShutdownState) -> None:
        self._idle_seconds = settings.upload_idle_seconds
        self._min_rate = settings.upload_min_bytes_per_second
        self._overdue = drain.overdue
        self._waited_seconds = 0.0
        self._received_bytes = 0

    async def wait_for(
        self, read: Callable[[], Awaitable[T]], size_of: Callable[[T], int | None]
    ) -> T:
        """What is read next; `weigh` tells its bytes, or None of what is the last.

        Raises: UploadInterrupted, GatewayDraining.
        """
        started = time.monotonic()
        part = await self._read_next(read)
        size_bytes = size_of(part)
        self._waited_seconds += time.monotonic() - started
        self._received_bytes += size_bytes or 0
        if size_bytes is not None and self._waited_seconds >= self._idle_seconds:
            self._check_rate()
        return part

    async def _read_next(self, read: Callable[[], Awaitable[T]]) -> T:
        deadline = time.monotonic() + self._idle_seconds
        read_task = asyncio.ensure_future(read())
        try:
            while (remaining := deadline - time.monotonic()) > 0:
                if self._overdue.is_set():
                    raise GatewayDraining("the upload did not end in the time that was left")
                if (await asyncio.wait({read_task}, timeout=min(remaining, OVERDUE_POLL_SECONDS)))[
                    0
                ]:
                    return read_task.result()
        finally:
            read_task.cancel()
        raise UploadInterrupted(f"nothing came for {self._idle_seconds:g} s")

    def _check_rate(self) -> None:
        """Look at one span of `upload_idle_seconds` of waiting, and begin the next."""
        if self._received_bytes < self._min_rate * self._waited_seconds:
            raise UploadInterrupted(
                f"{self._received_bytes} bytes came in {self._waited_seconds:.0f} s, "
                f"and {self._min_rate:g} bytes/s are the least"
            )
        self._waited_seconds, self._received_bytes = 0.0, 0
