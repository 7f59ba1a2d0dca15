"""HTTP server of the gateway: uvicorn, observing the shutdown state, with bounded connections."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI

from service.gateway.context import GatewayContext
from service.gateway.http_server.connection import BoundedConnection
from service.gateway.http_server.limits import ConnectionLimiter
from service.gateway.http_server.websocket import PING_INTERVAL_SECONDS, BoundedWebSocket
from service.gateway.lifecycle import OVERDUE_GRACE_SECONDS, ShutdownPhase
from service.settings import Settings

CHECK_INTERVAL_TICKS: Final = 5
"""uvicorn ticks ten times a second."""
RESERVED_FILES: Final = 256
"""File descriptors of a gateway beside those of its connections and their uploads."""

log = logging.getLogger(__name__)


class GatewayServer(uvicorn.Server):
    """uvicorn's server, which stops in the phase CLOSING of the shutdown and ignores signals."""

    def __init__(self, app: FastAPI) -> None:
        gateway: GatewayContext = app.state.gateway
        settings = _fit_to_file_limit(gateway.settings)
        self._shutdown = gateway.shutdown
        self._limiter = ConnectionLimiter(settings, gateway.metrics)
        connection = partial(
            BoundedConnection, limiter=self._limiter, shutdown=self._shutdown, settings=settings
        )
        websocket = partial(BoundedWebSocket, limiter=self._limiter, settings=settings)
        super().__init__(_build_config(app, settings, connection, websocket))

    async def on_tick(self, counter: int) -> bool:
        """Check the deadlines of connections; True: stop serving."""
        if counter % CHECK_INTERVAL_TICKS == 0:
            self._limiter.check_deadlines(asyncio.get_running_loop().time())
        await super().on_tick(counter)
        return self._shutdown.has_reached(ShutdownPhase.CLOSING)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listeners and finish what is under way; a second signal ends the wait."""
        forcing = asyncio.create_task(self._force_exit_on_request(), name="forced exit")
        try:
            await super().shutdown(sockets)
        finally:
            forcing.cancel()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the process, which has more than this server to stop."""
        yield

    async def _force_exit_on_request(self) -> None:
        await self._shutdown.wait_for_request(ShutdownPhase.OVERDUE)
        self.force_exit = True


def _build_config(
    app: FastAPI, settings: Settings, connection: object, websocket: object
) -> uvicorn.Config:
    return uvicorn.Config(
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
        timeout_graceful_shutdown=int(settings.drain_seconds + OVERDUE_GRACE_SECONDS),
    )


def _fit_to_file_limit(settings: Settings) -> Settings:
    """Raise the limit of open files; if that does not suffice, lower `max_connections`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed_files = 2 * settings.max_connections + RESERVED_FILES
    allowed_files = needed_files if hard == resource.RLIM_INFINITY else min(needed_files, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed_files:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed_files, hard))
    if allowed_files >= needed_files:
        return settings
    max_connections = max((allowed_files - RESERVED_FILES) // 2, 1)
    log.warning("%d files may be open: max_connections is %d", allowed_files, max_connections)
    return settings.model_copy(update={"max_connections": max_connections})
