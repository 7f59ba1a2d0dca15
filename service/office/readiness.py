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
from service.office.gateway import Gateway

PROBE_SECONDS: Final = 3.0
PARTS: Final[Mapping[str, type[ServiceError]]] = {
    "triton": InferenceUnavailable,
    "redis": QueueUnavailable,
    "store": StoreUnavailable,
}
"""The parts behind the gateway, and what is wrong when one is away."""

Condition = Literal["ready", "away"]


async def probe(gateway: Gateway, parts: Collection[str] = tuple(PARTS)) -> dict[str, Condition]:
    """How each of these parts is, asked at once."""
    probes: dict[str, Callable[[], Awaitable[bool]]] = {
        "triton": gateway.inference_ready,
        "redis": gateway.desk.is_ready,
        "store": gateway.store.is_ready,
    }
    found = await asyncio.gather(*(_condition(probes[name]) for name in parts))
    return dict(zip(parts, found, strict=True))


async def _condition(probe: Callable[[], Awaitable[bool]]) -> Condition:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return "ready" if await probe() else "away"
    except (CircumplexError, TimeoutError):
        return "away"
