"""A process that opens a clip, says so, and then does nothing until it is killed.

python -m tests.media.owner CLIP
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from service.domain.choices import Choices
from service.extraction.door import open_extraction
from service.settings import Settings


async def open_and_wait(clip: Path) -> None:
    async with open_extraction(Settings()) as extract, extract(clip, Choices()) as messages:
        await anext(messages)
        sys.stdout.write("opened\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(open_and_wait(Path(sys.argv[1])))
