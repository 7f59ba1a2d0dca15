"""Reading of a decode process: messages, time-outs, exit diagnosis.

The pipe applies the back-pressure: a parent that does not read stops the decode process once
the pipe is full.
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

from service.decoding.cpu_budget import MEASURE_SECONDS, StallClock, WorkAccount
from service.decoding.forkserver.client import Forkserver
from service.decoding.forkserver.worker_process import WorkerProcess
from service.decoding.protocol.messages import (
    PREFIX,
    ExtractionFailed,
    WorkerMessage,
    decode_message,
    read_prefix,
)
from service.domain.clip import Chunk, ClipClosed, ClipOpened, ExtractionEvent
from service.errors import (
    CircumplexError,
    DecoderCrashed,
    DecoderKilled,
    DecoderStalled,
    DecoderTimedOut,
)

_log = logging.getLogger(__name__)

_EXIT_TIMEOUT_SECONDS: Final = 5.0
OUT_OF_ORDER: Final = "The decoder process sent messages out of order"
_FRESH_SECONDS: Final = 0.01
"""Wait after which a message is new: the decode process is not ahead of what was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadTimeouts:
    """Limits of the time without progress, for all messages, and of the processor time."""

    stall_seconds: float
    wall_seconds: float
    cpu_seconds: float


class WorkerReader:
    """Reader of the messages of one decode process, each with at most `max_frames` frames."""

    def __init__(
        self,
        forkserver: Forkserver,
        process: WorkerProcess,
        timeouts: ReadTimeouts,
        account: WorkAccount,
        *,
        max_frames: int,
    ) -> None:
        self._forkserver = forkserver
        self._process = process
        self._max_frames = max_frames
        self._kill_reason: CircumplexError | None = None
        self.account = account
        self.timeouts = timeouts

    async def read(self) -> WorkerMessage:
        """Read the next message.

        Raises: DecoderCrashed, DecoderTimedOut, DecoderKilled, DecoderStalled, ClipTooCostly: the
            process has ended, or sent a malformed message; and the error that the message carries.
        """
        pipe = self._process.messages
        try:
            prefix = read_prefix(await pipe.readexactly(PREFIX.size), max_frames=self._max_frames)
            content = await pipe.readexactly(prefix.length)
        except asyncio.IncompleteReadError as error:
            reason = self._kill_reason or await self._diagnose_exit()
            if isinstance(reason, DecoderCrashed):
                self._forkserver.replace()
            raise reason from error
        try:
            return decode_message(prefix, content, max_frames=self._max_frames)
        except DecoderCrashed:
            if prefix.type is ExtractionFailed:
                await self._diagnose_exit()  # logs the traceback
            raise

    async def read_watched(self, wall_seconds: float) -> WorkerMessage:
        """Read the next message of a process that must send one, and hold it to its budget.

        Raises: as `read`; DecoderStalled: it makes no progress, or takes longer than allowed.
        """
        deadline = time.monotonic() + wall_seconds
        stall = StallClock(self.timeouts.stall_seconds)
        interval = min(MEASURE_SECONDS, self.timeouts.stall_seconds / 4)
        reading = asyncio.ensure_future(self.read())
        try:
            while True:
                left = max(deadline - time.monotonic(), 0.0)
                done, _ = await asyncio.wait({reading}, timeout=min(interval, left))
                if done:
                    return reading.result()
                self.check_budget()
                if stall.is_stalled(self._process.cpu_seconds()):
                    raise DecoderStalled()
                if time.monotonic() >= deadline:
                    raise DecoderStalled("Decoding the clip takes longer than one attempt may")
        finally:
            reading.cancel()

    def check_budget(self) -> None:
        """Check the processor time that the process has taken. Raises: ClipTooCostly."""
        self.account.check(self._process.cpu_seconds())

    def has_stalled(self, stall: StallClock) -> bool:
        """Return whether the process has neither sent anything nor computed for too long."""
        return stall.is_stalled(self._process.cpu_seconds())

    def kill(self, reason: CircumplexError) -> None:
        """Kill the decode process; `read` then raises the reason."""
        self._kill_reason = reason
        self._process.kill()

    async def _diagnose_exit(self) -> CircumplexError:
        """Translate the exit of a process that did not report an error; log its standard error.

        The kernel's out-of-memory SIGKILL may be due to other processes, so it is not an error of
        the clip; a SIGKILL after the processor time limit is.
        """
        try:
            async with asyncio.timeout(_EXIT_TIMEOUT_SECONDS):
                status = await self._process.wait()
                stderr = await self._process.read_stderr_tail()
        except TimeoutError:
            return DecoderStalled("The decoder process closed its pipe and kept running")
        if status is None:
            return DecoderKilled("The process that the decoder was started by has ended")
        _log.warning("decode process ended with status %d: %s", status.status, stderr)
        cpu_seconds = self.timeouts.cpu_seconds
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


@contextlib.asynccontextmanager
async def run_decode_process(
    forkserver: Forkserver,
    request: bytes,
    files: Sequence[int],
    timeouts: ReadTimeouts,
    account: WorkAccount,
    *,
    max_frames: int,
) -> AsyncGenerator[WorkerReader]:
    """Run a decode process on a request; kill and reap it on leaving.

    Args: files: handles of its media; account: a new one; max_frames: of one message.
    Raises: DecoderKilled, FaceModelsMissing.
    """
    async with forkserver.worker(request, files) as process:
        yield WorkerReader(forkserver, process, timeouts, account, max_frames=max_frames)


async def read_clip(reader: WorkerReader) -> AsyncIterator[ExtractionEvent]:
    """Read the messages of a clip in their one order: opened, chunks without a gap, closed.

    Raises: as `WorkerReader.read_watched`; DecoderCrashed: they are out of order.
    """
    frames, opened = 0, False
    left_seconds = reader.timeouts.wall_seconds
    while True:
        began = time.monotonic()
        message = await reader.read_watched(left_seconds)
        waited = time.monotonic() - began  # the time that the consumer takes is not counted
        left_seconds -= waited
        match message:
            case ClipOpened():
                in_order, opened = not opened, True
                reader.account.pixels = picture_pixels(message)
            case Chunk():
                in_order = opened and message.frames[0].index == frames
                frames += len(message.frames)
                reader.account.add_frames(len(message.frames))
            case ClipClosed():
                in_order = opened and message.frames == frames
            case _:
                raise DecoderCrashed(OUT_OF_ORDER)
        if not in_order:
            raise DecoderCrashed(OUT_OF_ORDER)
        if waited > _FRESH_SECONDS:
            reader.check_budget()
        yield message
        if isinstance(message, ClipClosed):
            return


def picture_pixels(opened: ClipOpened) -> int:
    """Return the pixels of a clip's first picture, as coded or as displayed."""
    media = opened.media
    coded = (media.coded_width or 0) * (media.coded_height or 0)
    return max(coded, media.width * media.height)
