"""The decode child as its parent sees it: started, listened to, and always reaped.

The pipe is the bound: a parent that does not read stops the child at a pipe's worth of crops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from service.domain.clip import Chunk, ClipClosed, ClipOpened, Extract
from service.errors import CircumplexError, DecoderCrashed, DecoderKilled, DecoderTimedOut
from service.media import wire

_log = logging.getLogger(__name__)

_ROOT: Final = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_ROOT),
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}
"""All of the child's environment: none of the service's keys and passwords."""
_READ_AHEAD_BYTES: Final = 1 << 18
_KEPT_COMPLAINT_BYTES: Final = 4096
_LAST_WORDS_SECONDS: Final = 5.0


@contextlib.asynccontextmanager
async def run_child(
    module: str,
    arguments: Sequence[str],
    *,
    stall_seconds: float,
    cpu_seconds: int,
    most_frames: int,
) -> AsyncGenerator[AsyncIterator[Extract]]:
    """Run `python -m module arguments` and listen to its messages; kill and reap it on leaving.

    Args: stall_seconds: how long a message may take; cpu_seconds: the processor time that the
        child allows itself; most_frames: frames of one chunk.
    Raises, while listening: DecoderCrashed, DecoderTimedOut, DecoderKilled, and what the child
        reports.
    """
    cpu_limit = _cpu_seconds_of_ended() + cpu_seconds
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *arguments),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        env=_ENVIRONMENT,
        close_fds=True,
        start_new_session=True,
        limit=_READ_AHEAD_BYTES,
    )
    complaints = asyncio.create_task(_keep_tail(_reader(process.stderr)))
    try:
        heard = _listen(process, stall_seconds=stall_seconds, most_frames=most_frames)
        yield _explain_end(heard, process, complaints, cpu_limit=cpu_limit)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        # a killed child is reaped even if this wait is cancelled in its turn
        await asyncio.shield(_reap(process, complaints))


async def _explain_end(
    heard: AsyncIterator[Extract],
    process: Process,
    complaints: asyncio.Task[bytes],
    *,
    cpu_limit: float,
) -> AsyncIterator[Extract]:
    """The same messages; an end in the middle of them becomes the error that it stands for."""
    try:
        async for message in heard:
            yield message
    except asyncio.IncompleteReadError as error:
        raise await _reason_of_end(process, complaints, cpu_limit=cpu_limit) from error


async def _listen(
    process: Process, *, stall_seconds: float, most_frames: int
) -> AsyncIterator[Extract]:
    """Messages in the only order that makes sense: opened, chunks without a gap, closed.

    Raises: IncompleteReadError: the child has ended without having said so.
    """
    frames, opened = 0, False
    while True:
        try:
            async with asyncio.timeout(stall_seconds):
                message = await _read_message(_reader(process.stdout), most_frames)
        except TimeoutError as error:
            raise DecoderTimedOut() from error
        match message:
            case ClipOpened():
                in_order, opened = not opened, True
            case Chunk():
                in_order = opened and message.frames[0].index == frames
                frames += len(message.frames)
            case ClipClosed():
                in_order = opened and message.frames == frames
        if not in_order:
            raise DecoderCrashed("The decoder process sent messages out of order")
        yield message
        if isinstance(message, ClipClosed):
            return


async def _read_message(reader: asyncio.StreamReader, most_frames: int) -> Extract:
    prefix = await reader.readexactly(wire.PREFIX.size)
    lengths = wire.read_prefix(prefix, most_frames=most_frames)
    header = await reader.readexactly(lengths.header)
    crops = await reader.readexactly(lengths.crops)
    waveform = await reader.readexactly(lengths.waveform)
    return wire.decode(header, crops, waveform, await reader.readexactly(lengths.patch_starts))


async def _reason_of_end(
    process: Process, complaints: asyncio.Task[bytes], *, cpu_limit: float
) -> CircumplexError:
    """How a child ended that did not say so itself; what it complained of goes to the log.

    The kernel's SIGKILL comes for memory that others take as well, and is then not the clip's
    fault; only one that follows on a SIGXCPU that was not heeded is.
    """
    try:
        async with asyncio.timeout(_LAST_WORDS_SECONDS):
            status = await process.wait()
            said = await asyncio.shield(complaints)
    except TimeoutError:
        return DecoderCrashed("The decoder process closed its pipe and went on")
    _log.warning(
        "decode child ended", extra={"status": status, "said": said.decode(errors="replace")}
    )
    out_of_time = status == -signal.SIGKILL and _cpu_seconds_of_ended() >= cpu_limit
    if status == -signal.SIGXCPU or out_of_time:
        return DecoderTimedOut("Decoding the clip takes more processor time than allowed")
    if status == -signal.SIGKILL:
        return DecoderKilled()
    if status < 0:
        return DecoderCrashed(f"The decoder process was ended by {signal.Signals(-status).name}")
    return DecoderCrashed(f"The decoder process ended with status {status}")


def _cpu_seconds_of_ended() -> float:
    """Processor time of all children that have ended and been reaped so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _keep_tail(reader: asyncio.StreamReader) -> bytes:
    tail = b""
    while read := await reader.read(_READ_AHEAD_BYTES):
        tail = (tail + read)[-_KEPT_COMPLAINT_BYTES:]
    return tail


async def _reap(process: Process, complaints: asyncio.Task[bytes]) -> None:
    stdout = _reader(process.stdout)
    while await stdout.read(_READ_AHEAD_BYTES):
        continue  # a paused pipe would never report its end
    await process.wait()
    await complaints


def _reader(reader: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if reader is None:
        raise RuntimeError("the child was started without pipes")
    return reader
