"""How a stream is brought to its end from outside."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress

from circumplex_client.live.media import Piece
from circumplex_client.live.source import Source


async def until(stopping: asyncio.Event, media: AsyncGenerator[Piece]) -> AsyncGenerator[Piece]:
    """The media, to their end or to where they are stopped."""
    source, stop = Source(media), asyncio.create_task(stopping.wait())
    try:
        while not stop.done():
            coming = asyncio.create_task(source.next())
            await asyncio.wait({coming, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                coming.cancel()
            elif (piece := coming.result()) is not None:
                yield piece
            else:
                return
    finally:
        stop.cancel()
        await source.close()


@contextmanager
def heeding(
    stopping: asyncio.Event, task: asyncio.Task[object], say: Callable[[str], None]
) -> Generator[None]:
    """The first signal ends the media, the second one everything."""

    def heed() -> None:
        if stopping.is_set():
            task.cancel()
        else:
            say("ending the stream, its last results are coming; Ctrl-C leaves at once")
            stopping.set()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: Ctrl-C ends everything
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, heed)
    yield
