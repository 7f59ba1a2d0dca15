"""Whether the parts behind the gateway can be used now."""

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
DEPENDENCY_ERRORS: Final[Mapping[str, type[ServiceError]]] = {
    "triton": InferenceUnavailable,
    "redis": QueueUnavailable,
    "store": StoreUnavailable,
}
"""The parts behind the gateway, and what is wrong when one is away."""

DependencyStatus = Literal["ready", "away"]


async def probe_dependencies(
    gateway: GatewayContext, names: Collection[str] = tuple(DEPENDENCY_ERRORS)
) -> dict[str, DependencyStatus]:
    """How each of these parts is, asked at once."""
    probes: dict[str, Callable[[], Awaitable[bool]]] = {
        "triton": gateway.is_inference_ready,
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
