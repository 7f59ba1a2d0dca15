"""Readiness probes of the services that the gateway depends on: Triton, Redis, the blob store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, Literal

from service.errors import (
    CircumplexError,
    InferenceUnavailable,
    QueueUnavailable,
    ServiceError,
    StoreUnavailable,
)
from service.gateway.context import GatewayContext

PROBE_TIMEOUT_SECONDS: Final = 3.0
"""Time after which a dependency counts as `away`."""
DEPENDENCY_ERRORS: Final[Mapping[str, type[ServiceError]]] = {
    "triton": InferenceUnavailable,
    "redis": QueueUnavailable,
    "store": StoreUnavailable,
}
"""Each dependency, and the error that stands for its absence."""

DependencyStatus = Literal["ready", "away"]


async def probe_dependencies(
    gateway: GatewayContext, names: Collection[str] = tuple(DEPENDENCY_ERRORS)
) -> dict[str, DependencyStatus]:
    """Probe these dependencies concurrently; one that fails or is slow is `away`."""
    probes: dict[str, Callable[[], Awaitable[bool]]] = {
        "triton": gateway.estimators.is_ready,
        "redis": gateway.job_queue.is_ready,
        "store": gateway.store.is_ready,
    }
    found = await asyncio.gather(*(_probe_one(probes[name]) for name in names))
    return dict(zip(names, found, strict=True))


async def _probe_one(probe: Callable[[], Awaitable[bool]]) -> DependencyStatus:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            return "ready" if await probe() else "away"
    except (CircumplexError, TimeoutError):
        return "away"
