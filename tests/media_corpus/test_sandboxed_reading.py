"""Sandboxed decode process: reads the same as an unconfined one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.decoding.extractor import ForkedClipExtractor, open_clip_extractor
from service.domain.clip import Chunk, ClipClosed, ClipOpened
from service.domain.options import AnalysisOptions
from service.settings import Settings
from tests.media.in_process_reading import read_video
from tests.media_corpus.case import CorpusCase
from tests.media_corpus.test_corpus import CORPUS

CASE_NAMES = [
    "interlaced",
    "avi, dv",
    "pq",
    "rotated by 30 degrees",
    "size changes",
    "the second video",
    "ten bits",
]


@pytest.fixture(scope="module")
async def clip_extractor() -> AsyncIterator[ForkedClipExtractor]:
    async with open_clip_extractor(Settings()) as extractor:
        yield extractor


@pytest.mark.parametrize("each", [CORPUS[name] for name in CASE_NAMES], ids=CASE_NAMES)
async def test_sandboxed_worker_reads_the_same_as_in_process(
    clip_extractor: ForkedClipExtractor, tmp_path: Path, each: CorpusCase
) -> None:
    clip = each.build(tmp_path)
    reading = read_video(clip, video_stream=each.video_stream)
    options = AnalysisOptions(video_stream=each.video_stream)
    async with clip_extractor(clip, options) as messages:
        opened, *chunks, closed = [message async for message in messages]
    assert isinstance(opened, ClipOpened)
    assert isinstance(closed, ClipClosed)
    assert opened.media == reading.media
    frames = [frame for chunk in chunks if isinstance(chunk, Chunk) for frame in chunk.frames]
    assert [frame.time_seconds for frame in frames] == reading.times
    assert set(closed.flags) >= each.flags
    assert {name: getattr(closed.anomalies, name) for name in each.anomalies} == each.anomalies
