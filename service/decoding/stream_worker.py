"""Decode process of one stream: media in, events out, and the watch over both."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from service.decoding.cpu_budget import MEASURE_SECONDS, StallClock, WorkAccount
from service.decoding.forkserver.client import Forkserver
from service.decoding.protocol.messages import InputExhausted, WorkerMessage
from service.decoding.requests import EndOfInput, InputMessage, ResumeState, encode_input
from service.decoding.stream_account import StreamAccount
from service.decoding.worker_reader import (
    OUT_OF_ORDER,
    ReadTimeouts,
    WorkerReader,
    picture_pixels,
    run_decode_process,
)
from service.domain.clip import Chunk, ClipClosed, ClipOpened
from service.domain.stream import (
    FramesExtracted,
    Snapshot,
    StreamAudio,
    StreamExtractionEvent,
    StreamInput,
)
from service.errors import ClipTooCostly, DecoderCrashed, DecoderStalled

MESSAGE_BYTES: Final = 64
"""Bytes that each message of a stream counts beyond its media."""
_MAX_UNSENT_BYTES: Final = 1 << 16
"""Limit of unsent bytes in this process, beside those in the pipe."""


@contextlib.asynccontextmanager
async def run_stream_process(
    forkserver: Forkserver,
    request: bytes,
    timeouts: ReadTimeouts,
    account: StreamAccount,
    work: WorkAccount,
    snapshot: bytes | None = None,
) -> AsyncGenerator[StreamWorker]:
    """Run a decode process on media as they are sent; kill and reap it on leaving.

    Args: account, work: new ones; snapshot: the state of a Snapshot to resume from.
    Raises: DecoderKilled, FaceModelsMissing; StreamExpired: the state is of another version.
    """
    state = None if snapshot is None else account.unseal(snapshot)
    reading, writing = os.pipe()
    with contextlib.ExitStack() as resources:
        read_end = resources.enter_context(os.fdopen(reading, "rb", buffering=0))
        write_end = resources.enter_context(os.fdopen(writing, "wb", buffering=0))
        async with run_decode_process(
            forkserver, request, [reading], timeouts, work, max_frames=account.max_frames
        ) as reader:
            read_end.close()  # once the decode process has ended, the pipe has no reader
            writer = await _open_writer(write_end)
            worker = StreamWorker(reader, writer, account)
            watching = asyncio.create_task(worker.watch())
            try:
                if state is not None:
                    await worker.resume(state)
                yield worker
            finally:
                watching.cancel()
                if not writer.is_closing():  # else the decode process has ended first
                    writer.transport.abort()


async def _open_writer(pipe: object) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), pipe
    )
    transport.set_write_buffer_limits(high=_MAX_UNSENT_BYTES)
    return asyncio.StreamWriter(transport, protocol, None, loop)


class StreamWorker:
    """The decode process of one stream; a `StreamExtraction`."""

    def __init__(
        self, reader: WorkerReader, writer: asyncio.StreamWriter, account: StreamAccount
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._account = account
        self._accepts_input = True
        self._unanswered_since: float | None = None
        self._reading_since: float | None = None

    async def resume(self, state: bytes) -> None:
        """Send, before all media, the unsealed state of a snapshot."""
        await self._write(ResumeState(state=state))

    async def send(self, piece: StreamInput) -> None:
        """Send the next media; waits while earlier ones are unread.

        Does nothing once the decode process has ended: `events` raises the reason.
        """
        self._account.record_sent(piece)
        data = b"" if isinstance(piece, StreamAudio) else piece.data
        self._reader.account.media_bytes += len(data) + MESSAGE_BYTES
        await self._write(piece)

    async def end(self) -> None:
        """Announce the end of the media; those that were sent are still extracted."""
        self._account.record_end()
        await self._write(EndOfInput())

    async def events(self) -> AsyncIterator[StreamExtractionEvent]:
        """Read events until ClipClosed; call it at the start and read without a pause.

        Raises: as `WorkerReader.read`.
        """
        while True:
            self._reading_since = time.monotonic()
            try:
                message = await self._reader.read()
            finally:
                self._reading_since = None
            if isinstance(message, Chunk) or not self._account.accept(message):
                raise DecoderCrashed(OUT_OF_ORDER)
            self._record_work(message)
            self._unanswered_since = None if self._account.is_settled else time.monotonic()
            if isinstance(message, Snapshot):
                yield self._account.seal(message)
            elif not isinstance(message, InputExhausted):
                yield message
            if isinstance(message, ClipClosed):
                return

    async def watch(self) -> None:
        """Kill the process once it exceeds its budget, or makes no progress while media wait."""
        stall_seconds = self._reader.timeouts.stall_seconds
        stall = StallClock(stall_seconds)
        while True:
            await asyncio.sleep(min(MEASURE_SECONDS, stall_seconds / 4))
            if self._reading_since is None:  # the process may be ahead of what was read
                stall.restart(time.monotonic())
                continue
            try:
                self._reader.check_budget()
            except ClipTooCostly as error:
                self._reader.kill(error)
                return
            unanswered_since = self._unanswered_since or time.monotonic()
            stall.restart(max(unanswered_since, self._reading_since))
            if self._reader.has_stalled(stall):
                self._reader.kill(DecoderStalled())
                return

    def _record_work(self, message: WorkerMessage) -> None:
        """Count what was delivered. Raises: ClipTooCostly."""
        if isinstance(message, ClipOpened):
            self._reader.account.pixels = picture_pixels(message)
        elif isinstance(message, FramesExtracted):
            self._reader.account.add_frames(len(message.frames))

    async def _write(self, message: InputMessage | EndOfInput) -> None:
        if not self._accepts_input:
            await asyncio.sleep(0)  # a caller that sends in a loop lets other tasks run
            return
        if self._unanswered_since is None and not self._account.is_settled:
            self._unanswered_since = time.monotonic()
        try:
            self._writer.writelines(encode_input(message))
            await self._writer.drain()
        except ConnectionError:  # the reason is the last message, or the exit
            self._accepts_input = False
