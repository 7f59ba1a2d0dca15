"""From a clip file to chunks of frames, as the worker sees it: a child process does the work.

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

from service.domain.choices import Choices
from service.domain.clip import Extract
from service.errors import ServiceError
from service.extraction.options import CLIP_HANDLES, Options, Stock
from service.media.source import hold_clip
from service.nursery.child import Patience, run_child
from service.nursery.nursery import Nursery
from service.settings import Settings

_log = logging.getLogger(__name__)

NURSERY: Final = "service.extraction"
"""The package's `__main__`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """The extractor: a nursery, and what its children may do."""

    nursery: Nursery
    settings: Settings

    @asynccontextmanager
    async def __call__(
        self, clip: Path, choices: Choices
    ) -> AsyncGenerator[AsyncIterator[Extract]]:
        """Open a clip in a child process and yield ClipOpened, its chunks, and ClipClosed.

        The child works ahead until its pipe is full. Leaving the context ends it, read or not.

        Raises, entering or reading: ClipError, ClipTooLarge, DecoderKilled, FaceModelsMissing.
        """
        settings = self.settings
        patience = Patience(
            stall_seconds=settings.decode_stall_seconds,
            wall_seconds=settings.decode_wall_seconds,
            cpu_seconds=settings.decode_cpu_seconds,
        )
        request = json.dumps(asdict(Options.of(choices, settings))).encode()
        with hold_clip(clip, handles=CLIP_HANDLES, max_bytes=settings.max_upload_bytes) as files:
            async with run_child(
                self.nursery, request, files, patience, max_frames=settings.chunk_frames
            ) as extracts:
                yield extracts


@asynccontextmanager
async def open_extraction(settings: Settings) -> AsyncGenerator[Extraction]:
    """An extractor whose nursery is ready, or is tried again with the first clip."""
    nursery = Nursery(NURSERY, [json.dumps(asdict(Stock.of(settings)))])
    try:
        try:
            await nursery.start()
        except ServiceError as error:
            _log.warning("clips cannot be decoded now: %s", error.detail)
        yield Extraction(nursery=nursery, settings=settings)
    finally:
        await nursery.close()
