"""Serves gRPC beside REST until the gateway is told to stop, and then so that no call is lost.

announced -> health says NOT_SERVING
closing   -> new calls are refused; streams are told to go on elsewhere
overdue   -> uploads are refused; the rest is cut off soon after
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2_grpc

from service.errors import DoorNotOpened
from service.office.gateway import Gateway
from service.rpc.annotation import Annotation
from service.rpc.calls import Calls
from service.rpc.credentials import server_credentials
from service.rpc.handlers import handler_of
from service.rpc.health import Health
from service.rpc.jobs import Jobs
from service.rpc.methods import ANNOTATION, JOBS
from service.rpc.options import server_options
from service.rpc.reflection import reflection_handlers
from service.settings import Settings

OVERDUE_SECONDS: Final = 2.0
"""What calls that are overdue get for their refusals."""
LAST_SECONDS: Final = 1.0
"""For what is on its way, when all calls are done; watchers of health stay so long."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_door(gateway: Gateway, port: int | None = None) -> AsyncGenerator[int]:
    """Serve gRPC while the context lasts; yields its port. Leaving waits for the drain's end.

    Args: port: another than that of the settings; 0: any that is free.
    Raises: DoorNotOpened.
    """
    settings, calls, health = gateway.settings, Calls(), Health(gateway)
    server: Any = grpc.aio.server(
        options=server_options(settings), maximum_concurrent_rpcs=settings.max_calls
    )
    handlers = [
        handler_of(ANNOTATION, Annotation(gateway), gateway, calls),
        handler_of(JOBS, Jobs(gateway), gateway, calls),
        *reflection_handlers(),
    ]
    server.add_generic_rpc_handlers(handlers)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    bound = _bind(server, settings, settings.grpc_port if port is None else port)
    await server.start()
    following = asyncio.create_task(health.follow(), name="gRPC health")
    draining = asyncio.create_task(_drain(server, gateway, calls), name="gRPC drain")
    try:
        yield bound
    finally:
        gateway.drain.close(settings.drain_seconds)
        await draining
        await following


def _bind(server: Any, settings: Settings, port: int) -> int:
    credentials = server_credentials(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise DoorNotOpened(f"nothing can listen on {address}") from error


async def _drain(server: Any, gateway: Gateway, calls: Calls) -> None:
    """Wait until the gateway closes, then for its calls, and stop."""
    await gateway.drain.closing.wait()
    gateway.streams.drain()
    waits = (calls.none_left.wait(), gateway.drain.overdue.wait())
    waiting = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait(waiting[:1], timeout=OVERDUE_SECONDS)
    for each in waiting:
        each.cancel()
    await server.stop(LAST_SECONDS)
    log.info("gRPC has ended")
