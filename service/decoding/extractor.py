"""From a clip file to chunks of frames, as the worker sees it: a child process does the work.

The child holds the hostile media; the parent only ever sees checked messages of bounded size.

From media as they come to what becomes of them: a child process for each stream does the work.

The child holds the hostile media; the parent only ever sees checked messages of bounded size.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from service.decoding.clip_reader import ReadTimeouts, run_clip_child
from service.decoding.forkserver.client import Forkserver
from service.decoding.requests import (
    CLIP_HANDLES,
    DecodeRequest,
    ForkserverConfig,
    StreamDecodeRequest,
)
from service.decoding.stream_account import StreamAccount
from service.decoding.stream_reader import run_stream_child
from service.domain.clip import ExtractionEvent
from service.domain.options import AnalysisOptions
from service.domain.ports import StreamExtraction as Extraction
from service.domain.stream import ContainerStreamMedia, StreamMedia
from service.errors import ServiceError
from service.media.clip_handles import open_clip_handles
from service.settings import Settings

_log = logging.getLogger(__name__)

WORKER_MODULE: Final = "service.decoding.worker"
"""The package's `__main__`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedClipExtractor:
    """The extractor: a nursery, and what its children may do."""

    forkserver: Forkserver
    settings: Settings

    @asynccontextmanager
    async def __call__(
        self, clip: Path, options: AnalysisOptions
    ) -> AsyncGenerator[AsyncIterator[ExtractionEvent]]:
        """Open a clip in a child process and yield ClipOpened, its chunks, and ClipClosed.

        The child works ahead until its pipe is full. Leaving the context ends it, read or not.

        Raises, entering or reading: ClipError, ClipTooLarge, DecoderKilled, FaceModelsMissing.
        """
        settings = self.settings
        timeouts = ReadTimeouts(
            stall_seconds=settings.decode_stall_seconds,
            wall_seconds=settings.decode_wall_seconds,
            cpu_seconds=settings.decode_cpu_seconds,
        )
        request = json.dumps(asdict(DecodeRequest.from_settings(options, settings))).encode()
        with open_clip_handles(
            clip, handles=CLIP_HANDLES, max_bytes=settings.max_upload_bytes
        ) as files:
            async with run_clip_child(
                self.forkserver, request, files, timeouts, max_frames=settings.chunk_frames
            ) as extracts:
                yield extracts


@asynccontextmanager
async def open_clip_extractor(settings: Settings) -> AsyncGenerator[ForkedClipExtractor]:
    """An extractor whose nursery is ready, or is tried again with the first clip."""
    nursery = Forkserver(
        WORKER_MODULE, [json.dumps(asdict(ForkserverConfig.from_settings(settings)))]
    )
    try:
        try:
            await nursery.start()
        except ServiceError as error:
            _log.warning("clips cannot be decoded now: %s", error.detail)
        yield ForkedClipExtractor(forkserver=nursery, settings=settings)
    finally:
        await nursery.close()


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkedStreamExtractor:
    """The extractor of streams: a nursery, and what its children may do."""

    forkserver: Forkserver
    settings: Settings

    @asynccontextmanager
    async def __call__(
        self, media: StreamMedia, snapshot: bytes | None = None
    ) -> AsyncGenerator[Extraction]:
        """Start a child for a stream. Leaving the context ends it, whatever it does.

        Args: snapshot: the state of a Snapshot of the same media, to go on from.
        Raises: DecoderKilled, FaceModelsMissing, StreamGone: the state is of another version.
        """
        settings = self.settings
        timeouts = ReadTimeouts(
            stall_seconds=settings.decode_stall_seconds,
            wall_seconds=settings.decode_wall_seconds,
            cpu_seconds=settings.decode_cpu_seconds,
        )
        async with run_stream_child(
            self.forkserver,
            StreamDecodeRequest.from_settings(
                media, settings, has_snapshot=snapshot is not None
            ).to_json(),
            timeouts,
            StreamAccount(
                settings.chunk_frames, expects_opened=isinstance(media, ContainerStreamMedia)
            ),
            snapshot,
        ) as live:
            yield live


@asynccontextmanager
async def open_stream_extractor(settings: Settings) -> AsyncGenerator[ForkedStreamExtractor]:
    """An extractor whose nursery is ready, or is tried again with the first stream."""
    nursery = Forkserver(
        WORKER_MODULE, [json.dumps(asdict(ForkserverConfig.from_settings(settings)))]
    )
    try:
        try:
            await nursery.start()
        except ServiceError as error:
            _log.warning("streams cannot be decoded now: %s", error.detail)
        yield ForkedStreamExtractor(forkserver=nursery, settings=settings)
    finally:
        await nursery.close()
