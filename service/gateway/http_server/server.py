"""Serves the REST application until it is told to stop, and then so that no request is lost.

SIGTERM -> announced: /health/ready fails, every answer asks its client to connect anew
        -> after drain_delay_seconds closing: nobody is let in; streams end
        -> after drain_seconds overdue: uploads are refused; the rest is cut off soon after
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI

from service.gateway.context import GatewayContext
from service.gateway.http_server.connection import BoundedConnection
from service.gateway.http_server.connection_limiter import ConnectionLimiter
from service.gateway.http_server.websocket import PING_INTERVAL_SECONDS, BoundedWebSocket
from service.settings import Settings

CHECK_INTERVAL_TICKS: Final = 5
"""uvicorn ticks ten times a second."""
UPLOAD_REFUSAL_SECONDS: Final = 2.0
"""What an upload that is overdue gets for its refusal."""
RESERVED_FILES: Final = 256
"""That a gateway may have open beside its connections and their uploads."""

log = logging.getLogger(__name__)


class GatewayServer(uvicorn.Server):
    """uvicorn's server with the gateway's doors, clock and end."""

    def __init__(self, app: FastAPI) -> None:
        gateway: GatewayContext = app.state.gateway
        settings = _fit_to_file_limit(gateway.settings)
        self._settings = settings
        self._drain = gateway.drain
        self._subscriber_limiter = gateway.subscriber_limiter
        self._streams = gateway.streams
        self._limiter = ConnectionLimiter(settings, gateway.metrics)
        self._closing_deadline: float | None = None
        connection = partial(
            BoundedConnection,
            limiter=self._limiter,
            drain=gateway.drain,
            settings=settings,
            metrics=gateway.metrics,
        )
        websocket = partial(
            BoundedWebSocket, limiter=self._limiter, settings=settings, metrics=gateway.metrics
        )
        super().__init__(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.http_port,
                http=cast(Any, connection),
                ws=cast(Any, websocket),
                ws_per_message_deflate=False,
                ws_ping_interval=PING_INTERVAL_SECONDS,
                ws_ping_timeout=None,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=int(settings.drain_seconds + UPLOAD_REFUSAL_SECONDS),
            )
        )

    async def on_tick(self, counter: int) -> bool:
        """Look at every connection, and at whether the end has come."""
        now_seconds = asyncio.get_running_loop().time()
        if counter % CHECK_INTERVAL_TICKS == 0:
            self._limiter.check_deadlines(now_seconds)
        if not await super().on_tick(counter):
            return False
        if self._closing_deadline is None:
            self._closing_deadline = now_seconds + self._settings.drain_delay_seconds
            self._drain.announced.set()
            log.info("draining: not ready from now on")
        return self.force_exit or now_seconds >= self._closing_deadline

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in, and finish what is under way."""
        self._drain.begin_closing(self._settings.drain_seconds)
        self._subscriber_limiter.stop()
        self._streams.drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGTERM and SIGINT, once and for all: uvicorn would raise them again after."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGTERM, signal.SIGINT)
        for number in numbers:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """A second signal ends the wait."""
        self.force_exit = self.should_exit
        if self.force_exit:
            self._drain.overdue.set()
        self.should_exit = True


def _fit_to_file_limit(settings: Settings) -> Settings:
    """Raise the limit of open files, and lower that of connections where that is not enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed_files = 2 * settings.max_connections + RESERVED_FILES
    allowed_files = needed_files if hard == resource.RLIM_INFINITY else min(needed_files, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed_files, hard))
    if allowed_files >= needed_files:
        return settings
    max_connections = max((allowed_files - RESERVED_FILES) // 2, 1)
    log.warning("%d files may be open: connections are bound to %d", allowed_files, max_connections)
    return settings.model_copy(update={"max_connections": max_connections})
