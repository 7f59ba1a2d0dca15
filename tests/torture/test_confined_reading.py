"""What a clip of the corpus tells survives the confinement of the process that reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.domain.choices import Choices
from service.domain.clip import Chunk, ClipClosed, ClipOpened
from service.extraction.door import Extraction, open_extraction
from service.settings import Settings
from tests.media.reading import read_video
from tests.torture.case import Case
from tests.torture.test_corpus import CORPUS

NAMES = ["interlaced", "avi, dv", "pq", "askew", "size changes", "the second video", "ten bits"]


@pytest.fixture(scope="module")
async def extraction() -> AsyncIterator[Extraction]:
    async with open_extraction(Settings()) as opened:
        yield opened


@pytest.mark.parametrize("each", [CORPUS[name] for name in NAMES], ids=NAMES)
async def test_a_confined_child_tells_the_same(
    extraction: Extraction, tmp_path: Path, each: Case
) -> None:
    clip = each.make(tmp_path)
    reading = read_video(clip, video_stream=each.video_stream)
    choices = Choices(video_stream=each.video_stream)
    async with extraction(clip, choices) as messages:
        opened, *chunks, closed = [message async for message in messages]
    assert isinstance(opened, ClipOpened)
    assert isinstance(closed, ClipClosed)
    assert opened.media == reading.facts
    frames = [frame for chunk in chunks if isinstance(chunk, Chunk) for frame in chunk.frames]
    assert [frame.time_seconds for frame in frames] == reading.times
    assert set(closed.flags) >= each.flags
    assert {name: getattr(closed.anomalies, name) for name in each.anomalies} == each.anomalies
