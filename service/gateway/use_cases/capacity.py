"""Whether there is room for a clip: asked before its first byte is read, and while it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from service.domain.caller import Caller
from service.errors import StoreFull
from service.gateway.context import GatewayContext


async def check_capacity(gateway: GatewayContext, caller: Caller, size_bytes: int) -> None:
    """Refuse early what would be refused late.

    Raises: QueueFull, QuotaExceeded, StoreFull.
    """
    await gateway.job_queue.check_capacity(caller, size_bytes)
    await gateway.store.check_free_space(size_bytes)
    await check_budget(gateway, size_bytes)


async def check_budget(gateway: GatewayContext, size_bytes: int) -> None:
    """Raises StoreFull where all clips and results would then weigh more than they may."""
    budget_bytes = gateway.settings.store_budget_bytes
    if budget_bytes is None:
        return
    if await gateway.job_queue.measure_stored_bytes() + size_bytes > budget_bytes:
        raise StoreFull("the blob store's budget has no room for the clip")


async def limit_to_capacity(
    gateway: GatewayContext, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """The same content; what outgrows the space or the budget raises StoreFull and ends."""
    budget_bytes = gateway.settings.store_budget_bytes
    remaining_bytes = (
        None
        if budget_bytes is None
        else budget_bytes - await gateway.job_queue.measure_stored_bytes()
    )
    size_bytes = 0
    async for chunk in chunks:
        size_bytes += len(chunk)
        if remaining_bytes is not None and size_bytes > remaining_bytes:
            raise StoreFull("the blob store's budget has no room for the clip")
        await gateway.store.check_free_space(len(chunk))
        yield chunk
