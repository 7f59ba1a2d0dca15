"""What another program writes."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator
from typing import BinaryIO, Final

from circumplex_client.live.media import ContainerChunk

CHUNK_BYTES: Final = 2**16


async def read_pipe(file: BinaryIO) -> AsyncGenerator[ContainerChunk]:
    """Whatever comes, as soon as it comes, to the end; of a plain file, what is in it."""
    if not _is_pipe(file):
        while data := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield ContainerChunk(data)
        return
    reader = asyncio.StreamReader(limit=CHUNK_BYTES)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        while data := await reader.read(CHUNK_BYTES):
            yield ContainerChunk(data)
    finally:
        transport.close()


def _is_pipe(file: BinaryIO) -> bool:
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
