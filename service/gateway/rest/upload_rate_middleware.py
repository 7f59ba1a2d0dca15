"""Ends a request whose body comes too slowly, not at all, or after the gateway's time is up."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.gateway.lifecycle import ShutdownState
from service.gateway.rest.lingering_close import has_body
from service.gateway.use_cases.upload_rate import UploadRateGuard
from service.settings import Settings


class UploadRateMiddleware:
    """ASGI middleware for requests that bring a body."""

    def __init__(self, app: ASGIApp, settings: Settings, drain: ShutdownState) -> None:
        self._app = app
        self._settings = settings
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and has_body(scope):
            receive = _GuardedBody(receive, UploadRateGuard(self._settings, self._drain)).receive
        await self._app(scope, receive, send)


class _GuardedBody:
    def __init__(self, receive: Receive, rate_guard: UploadRateGuard) -> None:
        self._receive = receive
        self._rate_guard = rate_guard
        self._has_ended = False

    async def receive(self) -> Message:
        """The next part; raises UploadInterrupted or GatewayDraining."""
        if self._has_ended:
            return await self._receive()
        message = await self._rate_guard.wait_for(self._receive, _size_bytes)
        self._has_ended = _size_bytes(message) is None
        return message


def _size_bytes(message: Message) -> int | None:
    return len(message.get("body", b"")) if message.get("more_body", False) else None
