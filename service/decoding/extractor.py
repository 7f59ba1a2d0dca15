"""Extractors of clips and of streams: each is decoded in a process of its own.

Untrusted media are parsed in the decode process only; this process receives checked messages of
bounded size. A stream's decode process may send nothing for hours while no media arrive; it is
killed if it neither sends nor computes anything for `decode_stall_seconds` while media wait for
their results. Both are held to a budget of processor time by the size of their media.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.decoding.cpu_budget import CpuBudget, WorkAccount
from service.decoding.forkserver.client import Forkserver
from service.decoding.memory_pool import MemoryPlan, MemoryPool, measure_memory_bytes
from service.decoding.requests import CLIP_HANDLES, DecodeRequest, ForkserverConfig
from service.decoding.stream_account import StreamAccount
from service.decoding.stream_worker import run_stream_process
from service.decoding.worker_reader import ReadTimeouts, read_clip, run_decode_process
from service.domain.clip import ClipOpened, ExtractionEvent
from service.domain.options import AnalysisOptions
from service.domain.ports import StreamExtraction
from service.domain.stream import ContainerStreamMedia, FrameStreamMedia, StreamMedia
from service.errors import DecoderOutOfMemory, ServiceError
from service.media.clip_handles import open_clip_handles
from service.serialization import encode
from service.settings import Settings

_log = logging.getLogger(__name__)

WORKER_MODULE: Final = "service.decoding.worker"
"""Package with the forkserver's `__main__`."""
UNSENT_STREAM_FRAMES: Final = 8
"""Frames of a stream that its decode process may have finished and not sent yet."""


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
