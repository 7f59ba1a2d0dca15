"""From media as they come to what becomes of them: a child process for each stream does the work.

The child holds the hostile media; the parent only ever sees checked messages of bounded size.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

from service.domain.live import ContainerMedia, LiveMedia
from service.domain.ports import LiveExtraction as Extraction
from service.errors import ServiceError
from service.extraction.door import NURSERY
from service.extraction.live_options import LiveOptions
from service.extraction.options import Stock
from service.nursery.child import Patience
from service.nursery.ledger import Ledger
from service.nursery.live_child import run_live_child
from service.nursery.nursery import Nursery
from service.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveExtraction:
    """The extractor of streams: a nursery, and what its children may do."""

    nursery: Nursery
    settings: Settings

    @asynccontextmanager
    async def __call__(
        self, media: LiveMedia, snapshot: bytes | None = None
    ) -> AsyncGenerator[Extraction]:
        """Start a child for a stream. Leaving the context ends it, whatever it does.

        Args: snapshot: the state of a Snapshot of the same media, to go on from.
        Raises: DecoderKilled, FaceModelsMissing, StreamGone: the state is of another version.
        """
        settings = self.settings
        patience = Patience(
            stall_seconds=settings.decode_stall_seconds,
            wall_seconds=settings.decode_wall_seconds,
            cpu_seconds=settings.decode_cpu_seconds,
        )
        async with run_live_child(
            self.nursery,
            LiveOptions.of(media, settings, goes_on=snapshot is not None).to_request(),
            patience,
            Ledger(settings.chunk_frames, opens=isinstance(media, ContainerMedia)),
            snapshot,
        ) as live:
            yield live


@asynccontextmanager
async def open_live_extraction(settings: Settings) -> AsyncGenerator[LiveExtraction]:
    """An extractor whose nursery is ready, or is tried again with the first stream."""
    nursery = Nursery(NURSERY, [json.dumps(asdict(Stock.of(settings)))])
    try:
        try:
            await nursery.start()
        except ServiceError as error:
            _log.warning("streams cannot be decoded now: %s", error.detail)
        yield LiveExtraction(nursery=nursery, settings=settings)
    finally:
        await nursery.close()
