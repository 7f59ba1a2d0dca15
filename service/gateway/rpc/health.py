"""grpc.health.v1, following the parts behind the gateway.

Ours and not the servicer of grpcio-health-checking, in which one of several watchers that leaves
takes the news from the others, and one that takes nothing holds up everybody's.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.gateway.context import GatewayContext
from service.gateway.readiness import DEPENDENCY_ERRORS, probe_dependencies
from service.gateway.rpc.method_table import ANNOTATION_SERVICE, JOB_SERVICE

SERVICE_DEPENDENCIES: Final = {
    "": tuple(DEPENDENCY_ERRORS),
    ANNOTATION_SERVICE.full_name: ("triton",),
    JOB_SERVICE.full_name: tuple(DEPENDENCY_ERRORS),
}
"""What a service needs; the one without a name is the whole gateway, as in /health/ready."""

log = logging.getLogger(__name__)
HealthResponse = health_pb2.HealthCheckResponse


class GatewayHealthServicer(health_pb2_grpc.HealthServicer):
    """Polls every `health_poll_seconds`; NOT_SERVING once the gateway stops."""

    def __init__(self, gateway: GatewayContext) -> None:
        self._gateway = gateway
        self._is_serving = dict.fromkeys(SERVICE_DEPENDENCIES, False)
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """How a service is."""
        if request.service not in SERVICE_DEPENDENCIES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return HealthResponse(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """How a service is, now and whenever it changes."""
        last_sent: Any = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != last_sent:
                await context.write(HealthResponse(status=status))
                last_sent = status
            await changed.wait()

    async def poll_until_drain(self) -> None:
        """Look again and again, until the gateway is to stop."""
        announced = self._gateway.drain.announced
        while not announced.is_set():
            await self.poll_once()
            try:
                async with asyncio.timeout(self._gateway.settings.health_poll_seconds):
                    await announced.wait()
            except TimeoutError:
                continue
        self._update(dict.fromkeys(SERVICE_DEPENDENCIES, False))

    async def poll_once(self) -> None:
        """Look once."""
        conditions = await probe_dependencies(self._gateway)
        ready = {name for name, condition in conditions.items() if condition == "ready"}
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
