"""Background task that lives as long as a context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any


@asynccontextmanager
async def run_in_background(
    work: Coroutine[Any, Any, None], *, name: str
) -> AsyncGenerator[asyncio.Task[None]]:
    """Run `work` as a task while the context lasts; it is cancelled and awaited on leaving."""
    task = asyncio.create_task(work, name=name)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
