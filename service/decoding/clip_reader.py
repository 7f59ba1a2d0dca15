"""The decode child as its parent sees it: started, listened to, and always reaped.

The pipe is the bound: a parent that does not read stops the child at a pipe's worth of crops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from service.decoding.forkserver.child import ChildHandle
from service.decoding.forkserver.client import Forkserver
from service.decoding.protocol import messages
from service.domain.clip import Chunk, ClipClosed, ClipOpened, ExtractionEvent
from service.errors import CircumplexError, DecoderCrashed, DecoderKilled, DecoderTimedOut

_log = logging.getLogger(__name__)

_EXIT_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTimeouts:
    """How long a message may take, how long all of them, and the processor time allowed."""

    stall_seconds: float
    wall_seconds: float
    cpu_seconds: float


@contextlib.asynccontextmanager
async def run_clip_child(
    forkserver: Forkserver,
    request: bytes,
    files: Sequence[int],
    timeouts: ReadTimeouts,
    *,
    max_frames: int,
) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
    """Have a child work on a request and listen to its messages; kill and reap it on leaving.

    Args: files: handles of the clip; max_frames: frames of one chunk.
    Raises: DecoderKilled, FaceModelsMissing; while listening: DecoderCrashed, DecoderTimedOut,
        DecoderKilled, and what the child reports.
    """
    async with forkserver.child(request, files) as child:
        messages = _read_messages(child, timeouts, max_frames)
        yield _translate_exit(messages, forkserver, child, cpu_seconds=timeouts.cpu_seconds)


async def _translate_exit(
    messages: AsyncIterator[ExtractionEvent],
    forkserver: Forkserver,
    child: ChildHandle,
    *,
    cpu_seconds: float,
) -> AsyncIterator[ExtractionEvent]:
    """The same messages; an end in the middle of them becomes the error that it stands for."""
    try:
        async for message in messages:
            yield message
    except asyncio.IncompleteReadError as error:
        reason = await diagnose_exit(child, cpu_seconds=cpu_seconds)
        if isinstance(reason, DecoderCrashed):
            forkserver.replace()
        raise reason from error


async def _read_messages(
    child: ChildHandle, timeouts: ReadTimeouts, max_frames: int
) -> AsyncIterator[ExtractionEvent]:
    """Messages in the only order that makes sense: opened, chunks without a gap, closed.

    Raises: DecoderTimedOut; IncompleteReadError: the child has ended without having said so.
    """
    frames, opened = 0, False
    left_seconds = timeouts.wall_seconds
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(timeouts.stall_seconds, left_seconds)):
                message = messages.decode(*await read_message_parts(child.messages, max_frames))
        except TimeoutError as error:
            raise DecoderTimedOut() from error
        left_seconds -= time.monotonic() - began  # what the reader takes is not the clip's fault
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


async def read_message_parts(reader: asyncio.StreamReader, max_frames: int) -> list[bytes]:
    """Header, crops, waveform and patch starts of the next message; raises DecoderCrashed."""
    prefix = await reader.readexactly(messages.PREFIX.size)
    lengths = messages.read_prefix(prefix, max_frames=max_frames)
    parts = (lengths.header, lengths.crops, lengths.waveform, lengths.patch_starts)
    return [await reader.readexactly(part) for part in parts]


async def diagnose_exit(child: ChildHandle, *, cpu_seconds: float) -> CircumplexError:
    """How a child ended that did not say so itself; what it complained of goes to the log.

    The kernel's SIGKILL comes for memory that others take as well, and is then not the clip's
    fault; only one that follows on a SIGXCPU that was not heeded is.
    """
    try:
        async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
            status = await child.wait()
            stderr = await child.read_stderr_tail()
    except TimeoutError:
        return DecoderCrashed("The decoder process closed its pipe and went on")
    if status is None:
        return DecoderKilled("The process that the decoder was started by has ended")
    _log.warning("decode child ended with status %d: %s", status.status, stderr)
    out_of_time = status.status == -signal.SIGKILL and status.cpu_seconds >= cpu_seconds
    if status.status == -signal.SIGXCPU or out_of_time:
        return DecoderTimedOut("Decoding the clip takes more processor time than allowed")
    if status.status == -signal.SIGKILL:
        return DecoderKilled()
    if status.status < 0:
        return DecoderCrashed(
            f"The decoder process was ended by {signal.Signals(-status.status).name}"
        )
    return DecoderCrashed(f"The decoder process ended with status {status.status}")
