"""The calls that are under way.

Serves gRPC beside REST until the gateway is told to stop, and then so that no call is lost.

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

from service.errors import GrpcServerNotStarted
from service.gateway.context import GatewayContext
from service.gateway.rpc.annotation_servicer import AnnotationServicer
from service.gateway.rpc.channel_options import server_options
from service.gateway.rpc.health import GatewayHealthServicer
from service.gateway.rpc.job_servicer import JobServicer
from service.gateway.rpc.method_handlers import InFlightCalls, create_service_handler
from service.gateway.rpc.method_table import ANNOTATION_SERVICE, JOB_SERVICE
from service.gateway.rpc.reflection import create_reflection_handlers
from service.gateway.rpc.tls import load_server_credentials
from service.settings import Settings

OVERDUE_GRACE_SECONDS: Final = 2.0
"""What calls that are overdue get for their refusals."""
STOP_GRACE_SECONDS: Final = 1.0
"""For what is on its way, when all calls are done; watchers of health stay so long."""

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve_grpc(gateway: GatewayContext, port: int | None = None) -> AsyncGenerator[int]:
    """Serve gRPC while the context lasts; yields its port. Leaving waits for the drain's end.

    Args: port: another than that of the settings; 0: any that is free.
    Raises: DoorNotOpened.
    """
    settings, calls, health = gateway.settings, InFlightCalls(), GatewayHealthServicer(gateway)
    server: Any = grpc.aio.server(
        options=server_options(settings), maximum_concurrent_rpcs=settings.max_calls
    )
    handlers = [
        create_service_handler(ANNOTATION_SERVICE, AnnotationServicer(gateway), gateway, calls),
        create_service_handler(JOB_SERVICE, JobServicer(gateway), gateway, calls),
        *create_reflection_handlers(),
    ]
    server.add_generic_rpc_handlers(handlers)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    bound_port = _bind(server, settings, settings.grpc_port if port is None else port)
    await server.start()
    health_task = asyncio.create_task(health.poll_until_drain(), name="gRPC health")
    drain_task = asyncio.create_task(_drain_and_stop(server, gateway, calls), name="gRPC drain")
    try:
        yield bound_port
    finally:
        gateway.drain.begin_closing(settings.drain_seconds)
        await drain_task
        await health_task


def _bind(server: Any, settings: Settings, port: int) -> int:
    credentials = load_server_credentials(settings)
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{port}"
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise GrpcServerNotStarted(f"nothing can listen on {address}") from error


async def _drain_and_stop(server: Any, gateway: GatewayContext, calls: InFlightCalls) -> None:
    """Wait until the gateway closes, then for its calls, and stop."""
    await gateway.drain.closing.wait()
    gateway.streams.drain()
    waits = (calls.drained.wait(), gateway.drain.overdue.wait())
    tasks = [asyncio.ensure_future(each) for each in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait(tasks[:1], timeout=OVERDUE_GRACE_SECONDS)
    for each in tasks:
        each.cancel()
    await server.stop(STOP_GRACE_SECONDS)
    log.info("gRPC has ended")
