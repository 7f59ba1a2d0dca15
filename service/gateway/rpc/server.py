"""gRPC server beside REST, which observes the shutdown state.

ANNOUNCED -> health answers NOT_SERVING
CLOSING   -> new calls are refused
OVERDUE   -> uploads are refused; OVERDUE_GRACE_SECONDS later other calls are cancelled
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc

from service.errors import GrpcServerNotStarted
from service.gateway.context import GatewayContext
from service.gateway.freed_memory import return_freed_memory
from service.gateway.lifecycle import OVERDUE_GRACE_SECONDS, ShutdownPhase, ShutdownState
from service.gateway.rpc.annotation_servicer import AnnotationServicer
from service.gateway.rpc.call_context import ANNOTATION_SERVICE, JOB_SERVICE, MODEL_SERVICE
from service.gateway.rpc.call_limits import CallLimits
from service.gateway.rpc.health import GatewayHealthServicer
from service.gateway.rpc.job_servicer import JobServicer
from service.gateway.rpc.keyless_handlers import create_health_handler, create_reflection_handlers
from service.gateway.rpc.method_handlers import InFlightCalls, create_service_handler
from service.gateway.rpc.model_servicer import ModelServicer
from service.gateway.rpc.transport import PingLimits, channel_options, load_server_credentials
from service.settings import Settings

STOP_GRACE_SECONDS: Final = 1.0
"""Time for responses on their way once all calls have ended; watchers of health stay as long."""
DEFAULT_PING_LIMITS: Final = PingLimits()

log = logging.getLogger(__name__)


@asynccontextmanager
async def serve_grpc(
    gateway: GatewayContext,
    port: int | None = None,
    *,
    ping_limits: PingLimits = DEFAULT_PING_LIMITS,
) -> AsyncGenerator[int]:
    """Serve gRPC while the context lasts; yields the port.

    Leaving requests the phase CLOSING, and waits for the calls in flight; `drive_shutdown` runs
    meanwhile.

    Args: port: instead of that of the settings; 0: any that is free.
    Raises: GrpcServerNotStarted.
    """
    settings, calls, health = gateway.settings, InFlightCalls(), GatewayHealthServicer(gateway)
    server: Any = grpc.aio.server(options=channel_options(settings, ping_limits))
    limits = CallLimits(settings)
    server.add_generic_rpc_handlers(_create_handlers(gateway, calls, health, limits))
    bound_port = _bind(server, settings, settings.grpc_port if port is None else port)
    await server.start()
    health_task = asyncio.create_task(health.poll_until_shutdown(), name="gRPC health")
    stop_task = asyncio.create_task(_stop_when_drained(server, gateway.shutdown, calls))
    background_tasks = [
        asyncio.create_task(limits.connections.run(bound_port), name="connections"),
        asyncio.create_task(return_freed_memory(), name="freed memory"),
    ]
    try:
        yield bound_port
    finally:
        gateway.shutdown.request(ShutdownPhase.CLOSING)
        await stop_task
        await health_task
        for task in background_tasks:
            task.cancel()


def _create_handlers(
    gateway: GatewayContext,
    calls: InFlightCalls,
    health: GatewayHealthServicer,
    limits: CallLimits,
) -> list[grpc.GenericRpcHandler]:
    servicers = {
        ANNOTATION_SERVICE: AnnotationServicer(gateway.streams),
        JOB_SERVICE: JobServicer(gateway),
        MODEL_SERVICE: ModelServicer(gateway),
    }
    return [
        *(
            create_service_handler(service, servicer, gateway, limits, calls)
            for service, servicer in servicers.items()
        ),
        create_health_handler(health, limits),
        *create_reflection_handlers(limits),
    ]


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


async def _stop_when_drained(server: Any, shutdown: ShutdownState, calls: InFlightCalls) -> None:
    """Stop the server once it is closing and its calls have ended, or are overdue."""
    await shutdown.wait_for(ShutdownPhase.CLOSING)
    drained = asyncio.create_task(calls.drained.wait())
    overdue = asyncio.create_task(shutdown.wait_for(ShutdownPhase.OVERDUE))
    await asyncio.wait({drained, overdue}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({drained}, timeout=OVERDUE_GRACE_SECONDS)
    drained.cancel()
    overdue.cancel()
    await server.stop(STOP_GRACE_SECONDS)
    log.info("the gRPC server has stopped")
