"""A gateway's WebSocket door to pretended streams."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.api.app import create_app
from service.office.gateway import Gateway
from tests.integration.pretended_streams import PretendedStreams
from tests.integration.rooms import eventually
from tests.integration.servers import serving
from tests.integration.sockets import PATIENCE_SECONDS


@dataclass(frozen=True, kw_only=True)
class Door:
    address: str
    streams: PretendedStreams
    gateway: Gateway

    def count(self, code: int) -> float:
        name, labels = "circumplex_websockets_closed_total", {"code": str(code)}
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def count_ended(self, reason: str) -> float:
        name, labels = "circumplex_http_connections_ended_total", {"reason": reason}
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def connections(self) -> float:
        return self.gateway.metrics.registry.get_sample_value("circumplex_http_connections") or 0.0

    async def all_gone(self) -> None:
        """Wait until nobody is connected."""

        async def look() -> bool | None:
            return not self.connections() or None

        await eventually(look, PATIENCE_SECONDS)

    async def counted(self, code: int, times: int) -> None:
        """Wait until so many WebSockets have ended with this code."""

        async def look() -> bool | None:
            return self.count(code) == times or None

        await eventually(look, PATIENCE_SECONDS)


@asynccontextmanager
async def door_of(
    gateway: Gateway, streams: PretendedStreams | None = None, **update: object
) -> AsyncGenerator[Door]:
    streams = streams or PretendedStreams()
    settings = gateway.settings.model_copy(update=update)
    gateway = dataclasses.replace(gateway, settings=settings, streams=streams)
    async with serving(create_app(gateway)) as address, asyncio.timeout(4 * PATIENCE_SECONDS):
        yield Door(address=address, streams=streams, gateway=gateway)
