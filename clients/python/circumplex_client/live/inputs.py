"""Media sources of the command line: a file, a pipe, a camera."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from circumplex_client.errors import ExtraMissing
from circumplex_client.live.media import ContainerChunk, ImageFrame

CHUNK_BYTES: Final = 2**16
BOX_HEADER_BYTES: Final = 8
"""Size and type of an ISO base media box; a size of 1 adds eight bytes of 64-bit size."""


async def stream_file(path: Path, *, realtime: bool) -> AsyncGenerator[ContainerChunk]:
    """Yield a file's bytes, at playback speed or as fast as they are consumed.

    A QuickTime or MP4 file whose index is at its end is remuxed into fragments, without
    re-encoding. Remuxing and real time need the extra `media`.

    Raises: OSError, InvalidMedia, ExtraMissing.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    parts = await asyncio.to_thread(_read_timed_chunks, path, realtime)
    while (part := await asyncio.to_thread(next, parts, None)) is not None:
        seconds, data = part
        if realtime:
            await asyncio.sleep(start + seconds - loop.time())
        yield ContainerChunk(data)


async def read_pipe(file: BinaryIO) -> AsyncGenerator[ContainerChunk]:
    """Yield data from a pipe as soon as they arrive; also reads plain files."""
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


async def capture_camera(device: str, *, kind: str | None = None) -> AsyncGenerator[ImageFrame]:
    """Yield a camera's frames as JPEG until it stops; kind: FFmpeg's input format.

    Raises: InvalidMedia, ExtraMissing.
    """
    try:
        from circumplex_client.live import pyav_io
    except ImportError as error:
        raise ExtraMissing(
            "a camera needs PyAV: pip install 'circumplex-client[media]'; or pipe it: "
            "ffmpeg -f v4l2 -i DEVICE -f matroska - | circumplex-client live -"
        ) from error
    frames = pyav_io.capture_frames(device, kind=kind)
    while (frame := await asyncio.to_thread(next, frames, None)) is not None:
        yield frame


def has_late_index(path: Path) -> bool:
    """Return whether it is a QuickTime or MP4 file whose `mdat` precedes its `moov`."""
    with path.open("rb") as file:
        first = next((kind for kind in _iter_box_types(file) if kind in (b"moov", b"mdat")), b"")
        return first == b"mdat"


def _read_timed_chunks(path: Path, realtime: bool) -> Iterator[tuple[float, bytes]]:
    """Yield (seconds at which the chunk is due, chunk)."""
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
    """Yield the types of the top-level boxes until something is not a box."""
    while len(head := file.read(8)) == BOX_HEADER_BYTES and head[4:].isalpha():
        size, content = int.from_bytes(head[:4]), -8
        if size == 1:
            size, content = int.from_bytes(file.read(8)), -16
        yield head[4:]
        if size + content < 0:
            return
        file.seek(size + content, 1)


def _is_pipe(file: BinaryIO) -> bool:
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)
