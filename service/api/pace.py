"""Ends a request whose body comes too slowly, not at all, or after the gateway's time is up."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.lingering import brings_body
from service.office.drain import Drain
from service.office.pace import Pace
from service.settings import Settings


class Paced:
    """ASGI middleware for requests that bring a body."""

    def __init__(self, app: ASGIApp, settings: Settings, drain: Drain) -> None:
        self._app = app
        self._settings = settings
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and brings_body(scope):
            receive = _Body(receive, Pace(self._settings, self._drain)).receive
        await self._app(scope, receive, send)


class _Body:
    def __init__(self, receive: Receive, pace: Pace) -> None:
        self._receive = receive
        self._pace = pace
        self._has_ended = False

    async def receive(self) -> Message:
        """The next part; raises UploadInterrupted or GatewayDraining."""
        if self._has_ended:
            return await self._receive()
        message = await self._pace.wait_for(self._receive, _weight)
        self._has_ended = _weight(message) is None
        return message


def _weight(message: Message) -> int | None:
    return len(message.get("body", b"")) if message.get("more_body", False) else None
