"""Extractors of clips and of streams: each is decoded in a process of its own.

Untrusted media are parsed in the decode process only; this process receives checked messages of
bounded size. A stream's decode process may send nothing for hours while no media arrive; it is
killed if it neither sends nor computes anything for `decode_stall_seconds` while media wait for
their results. Both are held to a budget of processor time by the size of their media.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.decoding.cpu_budget import MEASURE_SECONDS, CpuBudget, StallClock, WorkAccount
from service.decoding.forkserver.client import Forkserver
from service.decoding.memory_pool import MemoryPlan, MemoryPool, measure_memory_bytes
from service.decoding.protocol.messages import InputExhausted, WorkerMessage
from service.decoding.requests import (
    CLIP_HANDLES,
    DecodeRequest,
    EndOfInput,
    ForkserverConfig,
    InputMessage,
    ResumeState,
    encode_input,
)
from service.decoding.worker_reader import (
    OUT_OF_ORDER,
    ReadTimeouts,
    StreamAccount,
    WorkerReader,
    picture_pixels,
    read_clip,
    run_decode_process,
)
from service.domain.clip import Chunk, ClipClosed, ClipOpened, ExtractionEvent
from service.domain.options import AnalysisOptions
from service.domain.ports import StreamExtraction
from service.domain.stream import (
    ContainerStreamMedia,
    FramesExtracted,
    FrameStreamMedia,
    Snapshot,
    StreamAudio,
    StreamExtractionEvent,
    StreamInput,
    StreamMedia,
)
from service.errors import (
    ClipTooCostly,
    DecoderCrashed,
    DecoderOutOfMemory,
    DecoderStalled,
    ServiceError,
)
from service.media.clip_handles import open_clip_handles
from service.serialization import encode
from service.settings import Settings

_log = logging.getLogger(__name__)

WORKER_MODULE: Final = "service.decoding.worker"
"""Package with the forkserver's `__main__`."""
UNSENT_STREAM_FRAMES: Final = 8
"""Frames of a stream that its decode process may have finished and not sent yet."""
MESSAGE_BYTES: Final = 64
"""Bytes that each message of a stream counts beyond its media."""
_MAX_UNSENT_BYTES: Final = 1 << 16
"""Limit of unsent bytes in this process, beside those in the pipe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedClipExtractor:
    """A `ClipExtractor` with a forkserver, the settings and the memory of its processes."""

    forkserver: Forkserver
    settings: Settings
    memory_pool: MemoryPool

    @asynccontextmanager
    async def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
        """Open a clip in a decode process and yield ClipOpened, its chunks, and ClipClosed.

        The process begins with the first read, waits for memory, and works ahead until its pipe
        is full. Leaving the context ends it at any time.

        Raises, reading: ClipError, ClipTooLarge, DecoderKilled, DecoderStalled, FaceModelsMissing.
        """
        async with aclosing(self._extract(clip, options)) as events:
            yield events

    async def _extract(
        self, clip: Path, options: AnalysisOptions
    ) -> AsyncGenerator[ExtractionEvent]:
        """Extract with a normal grant of memory; with the largest if the frames need it."""
        plan = self.memory_pool.plan_for(self.settings)
        grant_bytes, is_opened = plan.normal_bytes, False
        while True:
            try:
                async with self._run(clip, options, grant_bytes) as events:
                    async for event in events:
                        if isinstance(event, ClipOpened) and plan.is_too_small(grant_bytes, event):
                            break
                        is_opened = True
                        yield event
                    else:
                        return
            except DecoderOutOfMemory:
                if is_opened or grant_bytes >= plan.largest_bytes:
                    raise
            grant_bytes = plan.largest_bytes

    @asynccontextmanager
    async def _run(
        self, clip: Path, options: AnalysisOptions, memory_bytes: int
    ) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
        """Run a decode process on a clip with this grant of memory, once the pool has it."""
        settings = self.settings
        with open_clip_handles(
            clip, handles=CLIP_HANDLES, max_bytes=settings.max_upload_bytes
        ) as files:
            account = WorkAccount(
                CpuBudget.from_settings(settings),
                media_bytes=os.fstat(files[0]).st_size,
                unsent_frames=settings.chunk_frames,
            )
            async with (
                self.memory_pool.wait_for_grant(memory_bytes),
                run_decode_process(
                    self.forkserver,
                    encode(DecodeRequest.from_settings(options, settings, memory_bytes)),
                    files,
                    _read_timeouts(settings),
                    account,
                    max_frames=settings.chunk_frames,
                ) as reader,
            ):
                yield read_clip(reader)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedStreamExtractor:
    """A `StreamExtractor` with a forkserver, the settings of its processes and their memory."""

    forkserver: Forkserver
    settings: Settings
    memory_pool: MemoryPool

    @asynccontextmanager
    async def __call__(
        self, media: StreamMedia, snapshot: bytes | None = None
    ) -> AsyncGenerator[StreamExtraction]:
        """Start a decode process for a stream. Leaving the context ends it at any time.

        Args: snapshot: the state of a Snapshot of the same media, to resume from.
        Raises: DecoderKilled, FaceModelsMissing; TooManyStreams: there is no memory for another;
            StreamExpired: the state is of another version.
        """
        settings = self.settings
        memory_bytes = self.memory_pool.plan_for(settings).normal_bytes
        account = StreamAccount(
            settings.chunk_frames, expects_opened=isinstance(media, ContainerStreamMedia)
        )
        work = WorkAccount(CpuBudget.from_settings(settings), unsent_frames=UNSENT_STREAM_FRAMES)
        if isinstance(media, FrameStreamMedia):
            work.pixels = media.width * media.height
        with self.memory_pool.stream_grant():
            async with run_stream_process(
                self.forkserver,
                encode(DecodeRequest.from_stream_media(media, settings, memory_bytes)),
                _read_timeouts(settings),
                account,
                work,
                snapshot,
            ) as worker:
                yield worker


@asynccontextmanager
async def open_clip_extractor(settings: Settings) -> AsyncGenerator[ForkedClipExtractor]:
    """Open an extractor; if its forkserver fails to start, the first clip starts it again."""
    pool = MemoryPool(MemoryPlan.for_clips(settings, measure_memory_bytes()))
    async with _open_forkserver(settings, "clips") as forkserver:
        yield ForkedClipExtractor(forkserver=forkserver, settings=settings, memory_pool=pool)


@asynccontextmanager
async def open_stream_extractor(settings: Settings) -> AsyncGenerator[ForkedStreamExtractor]:
    """Open an extractor; if its forkserver fails to start, the first stream starts it again."""
    pool = MemoryPool(MemoryPlan.for_streams(settings, measure_memory_bytes()))
    async with _open_forkserver(settings, "streams") as forkserver:
        yield ForkedStreamExtractor(forkserver=forkserver, settings=settings, memory_pool=pool)


@asynccontextmanager
async def _open_forkserver(settings: Settings, media: str) -> AsyncGenerator[Forkserver]:
    forkserver = Forkserver(WORKER_MODULE, encode(ForkserverConfig.from_settings(settings)))
    try:
        try:
            await forkserver.start()
        except ServiceError as error:
            _log.warning("%s cannot be decoded now: %s", media, error.detail)
        yield forkserver
    finally:
        await forkserver.close()


def _read_timeouts(settings: Settings) -> ReadTimeouts:
    return ReadTimeouts(
        stall_seconds=settings.decode_stall_seconds,
        wall_seconds=settings.decode_wall_seconds,
        cpu_seconds=settings.decode_cpu_seconds,
    )


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
