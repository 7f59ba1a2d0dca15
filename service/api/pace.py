"""Ends a request whose body comes too slowly, not at all, or after the gateway's time is up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.drain import Drain
from service.api.lingering import brings_body
from service.errors import GatewayDraining, UploadInterrupted
from service.settings import Settings

LOOK_SECONDS: Final = 0.5
"""From one look at whether the gateway's time is up to the next."""


class Pace:
    """ASGI middleware; only the time that is spent waiting for the client counts."""

    def __init__(self, app: ASGIApp, settings: Settings, drain: Drain) -> None:
        self._app = app
        self._settings = settings
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and brings_body(scope):
            receive = _Body(receive, self._settings, self._drain).receive
        await self._app(scope, receive, send)


class _Body:
    def __init__(self, receive: Receive, settings: Settings, drain: Drain) -> None:
        self._receive = receive
        self._idle_seconds = settings.upload_idle_seconds
        self._least_rate = settings.upload_least_bytes_per_second
        self._overdue = drain.overdue
        self._has_ended = False
        self._seconds = 0.0
        self._bytes = 0

    async def receive(self) -> Message:
        """The next part; raises UploadInterrupted or GatewayDraining."""
        if self._has_ended:
            return await self._receive()
        started = time.monotonic()
        message = await self._next()
        self._has_ended = not message.get("more_body", False)
        self._seconds += time.monotonic() - started
        self._bytes += len(message.get("body", b""))
        if not self._has_ended and self._seconds >= self._idle_seconds:
            self._judge()
        return message

    async def _next(self) -> Message:
        waiting_until = time.monotonic() + self._idle_seconds
        while (left := waiting_until - time.monotonic()) > 0:
            if self._overdue.is_set():
                raise GatewayDraining("the upload did not end in the time that was left")
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    return await self._receive()
        raise UploadInterrupted(f"nothing came for {self._idle_seconds:g} s")

    def _judge(self) -> None:
        """Look at one span of `upload_idle_seconds` of waiting, and begin the next."""
        if self._bytes < self._least_rate * self._seconds:
            raise UploadInterrupted(
                f"{self._bytes} bytes came in {self._seconds:.0f} s, "
                f"and {self._least_rate:g} bytes/s are the least"
            )
        self._seconds, self._bytes = 0.0, 0
