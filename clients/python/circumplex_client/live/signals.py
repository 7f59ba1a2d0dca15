"""How a stream is brought to its end from outside."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager, suppress

from circumplex_client.live.media import MediaChunk
from circumplex_client.live.media_source import MediaSource


async def read_until_stopped(
    stop_event: asyncio.Event, media: AsyncGenerator[MediaChunk]
) -> AsyncGenerator[MediaChunk]:
    """The media, to their end or to where they are stopped."""
    source, stop = MediaSource(media), asyncio.create_task(stop_event.wait())
    try:
        while not stop.done():
            read_task = asyncio.create_task(source.read())
            await asyncio.wait({read_task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not read_task.done():
                read_task.cancel()
            elif (chunk := read_task.result()) is not None:
                yield chunk
            else:
                return
    finally:
        stop.cancel()
        await source.close()


@contextmanager
def signals_handled(
    stop_event: asyncio.Event, task: asyncio.Task[object], print_status: Callable[[str], None]
) -> Generator[None]:
    """The first signal ends the media, the second one everything."""

    def handle_signal() -> None:
        if stop_event.is_set():
            task.cancel()
        else:
            print_status("ending the stream, its last results are coming; Ctrl-C leaves at once")
            stop_event.set()

    loop = asyncio.get_running_loop()
    with suppress(NotImplementedError):  # Windows: Ctrl-C ends everything
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, handle_signal)
    yield
