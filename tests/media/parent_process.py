"""A process that opens a clip, reports that, and counts the frames or waits to be killed.

python -m tests.media.parent_process CLIP [wait]
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.decoding.extractor import open_clip_extractor
from service.domain.clip import Chunk
from service.domain.options import AnalysisOptions
from service.settings import Settings
from service.telemetry.logs import configure_logs


async def read_clip(clip: Path, *, should_wait: bool) -> None:
    async with (
        open_clip_extractor(Settings()) as extract,
        extract(clip, AnalysisOptions()) as messages,
    ):
        await anext(messages)
        sys.stdout.write("opened\n")
        sys.stdout.flush()
        if should_wait:
            await asyncio.Event().wait()
        frames = [len(message.frames) async for message in messages if isinstance(message, Chunk)]
        sys.stdout.write(f"{sum(frames)} frames\n")


if __name__ == "__main__":
    configure_logs("info", "text")
    asyncio.run(read_clip(Path(sys.argv[1]), should_wait="wait" in sys.argv[2:]))
