"""Gateway that serves WebSockets over fake streams."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from tests.integration.fake_streams import FakeStreams
from tests.integration.job_environment import eventually
from tests.integration.servers import serving
from tests.integration.websocket_client import TIMEOUT_SECONDS


@dataclass(frozen=True, kw_only=True)
class WebSocketGateway:
    address: str
    streams: FakeStreams
    gateway: GatewayContext

    def count_closed(self, code: int) -> float:
        name, labels = "circumplex_websockets_closed_total", {"code": str(code)}
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def count_ended_connections(self, reason: str) -> float:
        name, labels = "circumplex_http_connections_ended_total", {"reason": reason}
        return self.gateway.metrics.registry.get_sample_value(name, labels) or 0.0

    def count_connections(self) -> float:
        return self.gateway.metrics.registry.get_sample_value("circumplex_http_connections") or 0.0

    async def wait_until_disconnected(self) -> None:
        """Wait until there is no connection."""

        async def poll() -> bool | None:
            return not self.count_connections() or None

        await eventually(poll, TIMEOUT_SECONDS)

    async def wait_for_close_count(self, code: int, times: int) -> None:
        """Wait until so many WebSockets have ended with this code."""

        async def poll() -> bool | None:
            return self.count_closed(code) == times or None

        await eventually(poll, TIMEOUT_SECONDS)


@asynccontextmanager
async def serving_websockets(
    gateway: GatewayContext, streams: FakeStreams | None = None, **update: object
) -> AsyncGenerator[WebSocketGateway]:
    streams = streams or FakeStreams()
    settings = gateway.settings.model_copy(update=update)
    gateway = dataclasses.replace(gateway, settings=settings, streams=streams)
    async with serving(create_app(gateway)) as address, asyncio.timeout(4 * TIMEOUT_SECONDS):
        yield WebSocketGateway(address=address, streams=streams, gateway=gateway)
