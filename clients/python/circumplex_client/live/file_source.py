"""A file in the order in which a stream takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from circumplex_client.errors import ExtraMissing
from circumplex_client.live.media import ContainerChunk

CHUNK_BYTES: Final = 2**16


async def stream_file(path: Path, *, realtime: bool) -> AsyncGenerator[ContainerChunk]:
    """The file's bytes, each when it is due, or all as fast as they are wanted.

    A QuickTime or MP4 file whose index is at its end is rewritten in fragments, its pictures and
    sound untouched. For that and for the clock the extra `media` is needed.

    Raises: OSError, MediaUnfit, ExtraMissing.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    parts = await asyncio.to_thread(_read_timed_chunks, path, realtime)
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        seconds, data = part
        if realtime:
            await asyncio.sleep(start + seconds - loop.time())
        yield ContainerChunk(data)


def has_late_index(path: Path) -> bool:
    """Whether it is a QuickTime or MP4 file whose media come before its `moov`."""
    with path.open("rb") as file:
        return (
            next((kind for kind in _iter_box_types(file) if kind in (b"moov", b"mdat")), b"")
            == b"mdat"
        )


def _read_timed_chunks(path: Path, realtime: bool) -> Iterator[tuple[float, bytes]]:
    """Parts of the file, and seconds at which they are due."""
    if not (has_late_index(path) or realtime):
        return _read_chunks(path)
    try:
        from circumplex_client.live import pyav_io
    except ImportError as error:
        raise ExtraMissing(
            f"{path} needs PyAV for this: pip install 'circumplex-client[media]'; or pipe it: "
            f"ffmpeg -re -i {path} -c copy -f matroska - | circumplex-client live -"
        ) from error
    return pyav_io.remux_fragmented(path) if has_late_index(path) else pyav_io.read_timed(path)


def _read_chunks(path: Path) -> Iterator[tuple[float, bytes]]:
    with path.open("rb") as file:
        while data := file.read(CHUNK_BYTES):
            yield 0.0, data


def _iter_box_types(file: BinaryIO) -> Iterator[bytes]:
    """The kinds of the boxes at the top, as long as they look like boxes."""
    while len(head := file.read(8)) == 8 and head[4:].isalpha():
        size, content = int.from_bytes(head[:4]), -8
        if size == 1:
            size, content = int.from_bytes(file.read(8)), -16
        yield head[4:]
        if size + content < 0:
            return
        file.seek(size + content, 1)
