"""grpc.health.v1, derived from the readiness of the gateway's dependencies.

Replaces the servicer of grpcio-health-checking, in which a watcher that leaves ends the updates
of the others, and one that does not read delays theirs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2

from service.gateway.context import GatewayContext
from service.gateway.lifecycle import ShutdownPhase
from service.gateway.readiness import DEPENDENCY_ERRORS, probe_dependencies
from service.gateway.rpc.call_context import ANNOTATION_SERVICE, JOB_SERVICE, MODEL_SERVICE

SERVICE_DEPENDENCIES: Final = {
    "": tuple(DEPENDENCY_ERRORS),
    ANNOTATION_SERVICE.full_name: ("triton",),
    JOB_SERVICE.full_name: tuple(DEPENDENCY_ERRORS),
    MODEL_SERVICE.full_name: (),
}
"""Dependencies of each service; the one without a name is the gateway, as in /health/ready."""

log = logging.getLogger(__name__)
HealthResponse = health_pb2.HealthCheckResponse


class GatewayHealthServicer:
    """Methods of grpc.health.v1.Health; NOT_SERVING once the shutdown is announced."""

    def __init__(self, gateway: GatewayContext) -> None:
        self._gateway = gateway
        self._is_serving = dict.fromkeys(SERVICE_DEPENDENCIES, False)
        self._changed = asyncio.Event()

    async def check(self, request: Any, context: Any) -> None:
        """Send the status of a service."""
        if request.service not in SERVICE_DEPENDENCIES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        await context.write(HealthResponse(status=self._status(request.service)))

    async def watch(self, request: Any, context: Any) -> None:
        """Send the status of a service, now and whenever it changes."""
        last_sent: Any = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != last_sent:
                await context.write(HealthResponse(status=status))
                last_sent = status
            await changed.wait()

    async def poll_until_shutdown(self) -> None:
        """Probe the dependencies every `health_poll_seconds`, until the shutdown is announced."""
        shutdown, poll_seconds = self._gateway.shutdown, self._gateway.settings.health_poll_seconds
        await self.poll_once()
        while not await shutdown.wait_for(ShutdownPhase.ANNOUNCED, poll_seconds):
            await self.poll_once()
        self._update(dict.fromkeys(SERVICE_DEPENDENCIES, False))

    async def poll_once(self) -> None:
        """Probe the dependencies once, and notify watchers of changes."""
        statuses = await probe_dependencies(self._gateway)
        ready = {name for name, status in statuses.items() if status == "ready"}
        self._update(
            {service: ready.issuperset(needed) for service, needed in SERVICE_DEPENDENCIES.items()}
        )

    def _update(self, is_serving: dict[str, bool]) -> None:
        if is_serving == self._is_serving:
            return
        self._is_serving = is_serving
        log.info(
            "serving: %s",
            ", ".join(sorted(filter(is_serving.get, SERVICE_DEPENDENCIES))) or "nothing",
        )
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, service: str) -> Any:
        if service not in self._is_serving:
            return HealthResponse.SERVICE_UNKNOWN
        return HealthResponse.SERVING if self._is_serving[service] else HealthResponse.NOT_SERVING
