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

from service.office.gateway import Gateway
from service.office.readiness import PARTS, probe
from service.rpc.methods import ANNOTATION, JOBS

NEEDS: Final = {
    "": tuple(PARTS),
    ANNOTATION.full_name: ("triton",),
    JOBS.full_name: tuple(PARTS),
}
"""What a service needs; the one without a name is the whole gateway, as in /health/ready."""

log = logging.getLogger(__name__)
Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Polls every `health_poll_seconds`; NOT_SERVING once the gateway stops."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._is_serving = dict.fromkeys(NEEDS, False)
        self._changed = asyncio.Event()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """How a service is."""
        if request.service not in NEEDS:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return Status(status=self._status(request.service))

    async def Watch(self, request: Any, context: Any) -> None:  # noqa: N802
        """How a service is, now and whenever it changes."""
        told: Any = None
        while True:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                await context.write(Status(status=status))
                told = status
            await changed.wait()

    async def follow(self) -> None:
        """Look again and again, until the gateway is to stop."""
        announced = self._gateway.drain.announced
        while not announced.is_set():
            await self.look()
            try:
                async with asyncio.timeout(self._gateway.settings.health_poll_seconds):
                    await announced.wait()
            except TimeoutError:
                continue
        self._set(dict.fromkeys(NEEDS, False))

    async def look(self) -> None:
        """Look once."""
        conditions = await probe(self._gateway)
        ready = {part for part, condition in conditions.items() if condition == "ready"}
        self._set({service: ready.issuperset(needed) for service, needed in NEEDS.items()})

    def _set(self, is_serving: dict[str, bool]) -> None:
        if is_serving == self._is_serving:
            return
        self._is_serving = is_serving
        log.info("serving: %s", ", ".join(sorted(filter(is_serving.get, NEEDS))) or "nothing")
        self._changed.set()
        self._changed = asyncio.Event()

    def _status(self, service: str) -> Any:
        if service not in self._is_serving:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._is_serving[service] else Status.NOT_SERVING
