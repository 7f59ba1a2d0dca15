"""The gateway's HTTP server: uvicorn, which tells those who wait before it stops."""

from __future__ import annotations

import socket

import uvicorn
from fastapi import FastAPI

from service.api.gateway import Gateway


class GatewayServer(uvicorn.Server):
    """Ends waits and streams of events first: a stop is not held up by them."""

    def __init__(self, app: FastAPI, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._gateway: Gateway = app.state.gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer those who wait, then finish the requests under way."""
        self._gateway.watchers.send_home()
        await super().shutdown(sockets)
