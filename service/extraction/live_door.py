"""From media as they come to what becomes of them: a child process for each stream does the work.

The child holds the hostile media; the parent only ever sees checked messages of bounded size.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from service.domain.live import ContainerStreamMedia, StreamMedia
from service.domain.ports import StreamExtraction as Extraction
from service.errors import ServiceError
from service.extraction.door import WORKER_MODULE
from service.extraction.live_options import StreamDecodeRequest
from service.extraction.options import ForkserverConfig
from service.nursery.child import ReadTimeouts
from service.nursery.ledger import StreamAccount
from service.nursery.live_child import run_stream_child
from service.nursery.nursery import Forkserver
from service.settings import Settings

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
