"""Whether there is room for a clip: asked before its first byte is read, and while it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from service.domain.caller import Caller
from service.errors import StoreFull
from service.office.gateway import Gateway


async def check_room(gateway: Gateway, caller: Caller, size_bytes: int) -> None:
    """Refuse early what would be refused late.

    Raises: QueueFull, QuotaExceeded, StoreFull.
    """
    await gateway.desk.check_room(caller, size_bytes)
    await gateway.store.check_room(size_bytes)
    await check_budget(gateway, size_bytes)


async def check_budget(gateway: Gateway, size_bytes: int) -> None:
    """Raises StoreFull where all clips and results would then weigh more than they may."""
    budget_bytes = gateway.settings.store_budget_bytes
    if budget_bytes is None:
        return
    if await gateway.desk.stored_bytes() + size_bytes > budget_bytes:
        raise StoreFull("the blob store's budget has no room for the clip")


async def while_there_is_room(
    gateway: Gateway, content: AsyncIterator[bytes]
) -> AsyncGenerator[bytes]:
    """The same content; what outgrows the space or the budget raises StoreFull and ends."""
    budget_bytes = gateway.settings.store_budget_bytes
    left_bytes = None if budget_bytes is None else budget_bytes - await gateway.desk.stored_bytes()
    size_bytes = 0
    async for chunk in content:
        size_bytes += len(chunk)
        if left_bytes is not None and size_bytes > left_bytes:
            raise StoreFull("the blob store's budget has no room for the clip")
        await gateway.store.check_room(len(chunk))
        yield chunk
