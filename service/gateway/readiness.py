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
"""Each dependency, and the error that stands for its absence; `triton` with the default model."""

READY: Final = "ready"
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


async def probe_models(gateway: GatewayContext) -> dict[str, str]:
    """Check the current version of every served model.

    Returns: READY or the code of its error, by its id, or by its name if it has no version.
    """
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            found = await gateway.estimators.check_served()
    except TimeoutError:
        return dict.fromkeys(gateway.estimators.served_names, InferenceUnavailable.code)
    return {model: READY if error is None else error.code for model, error in found.items()}


def describe_unready(models: Mapping[str, str]) -> list[str]:
    """Name the models whose own fault it is that they are not ready, in one clause or none."""
    own = {READY, InferenceUnavailable.code}
    named = [f"{model} ({code})" for model, code in models.items() if code not in own]
    return [f"models not ready: {', '.join(named)}"] if named else []


async def _probe_one(probe: Callable[[], Awaitable[bool]]) -> DependencyStatus:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            return "ready" if await probe() else "away"
    except (CircumplexError, TimeoutError):
        return "away"
