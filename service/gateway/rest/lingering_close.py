"""Lets a client hear an answer that comes before it has finished sending.

A server that closes a connection with unread bytes in it resets it, and the client may lose the
answer (RFC 9112, 9.6). So an early answer goes out at once and whole, then what the client still
sends is read and dropped for a bounded while, and then the connection is closed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LINGER_SECONDS: Final = 5.0
LINGER_BYTES: Final = 2**26


class LingeringCloseMiddleware:
    """ASGI middleware for requests that bring a body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and has_body(scope):
            exchange = _LingeringExchange(scope, receive, send)
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, receive, send)


class _LingeringExchange:
    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._is_body_expected = Headers(scope=scope).get("expect", "").lower() != "100-continue"
        self._is_body_complete = False
        self._is_response_early = False

    async def receive(self) -> Message:
        self._is_body_expected = True
        message = await self._receive()
        self._is_body_complete = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._is_body_complete:
            self._is_response_early = True
            MutableHeaders(scope=message)["Connection"] = "close"
        is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if self._is_response_early and is_last and self._is_body_expected:
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def _discard_body(self) -> None:
        dropped = 0
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_body_complete and dropped < LINGER_BYTES:
                    dropped += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def has_body(scope: Scope) -> bool:
    """Whether a request announces a body."""
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
