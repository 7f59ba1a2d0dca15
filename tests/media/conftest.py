"""Extractors with one forkserver for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from service.decoding.extractor import (
    ForkedClipExtractor,
    ForkedStreamExtractor,
    open_clip_extractor,
    open_stream_extractor,
)
from tests.media.clip_factory import VideoTrack, encode_clip
from tests.media.decode_workers import GOOD_CLIP_FRAMES, SETTINGS, Reader
from tests.media.stream_extraction import RenderedPerformance, render_performance

PERFORMANCE_SECONDS = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clip_extractor() -> AsyncIterator[ForkedClipExtractor]:
    async with open_clip_extractor(SETTINGS) as extractor:
        yield extractor


@pytest.fixture
def reader(clip_extractor: ForkedClipExtractor) -> Reader:
    return Reader(clip_extractor)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stream_extractor() -> AsyncIterator[ForkedStreamExtractor]:
    async with open_stream_extractor(SETTINGS) as extractor:
        yield extractor


@pytest.fixture(scope="module")
def rendered() -> RenderedPerformance:
    """Render two seconds of a drawn face and its voice."""
    return render_performance(PERFORMANCE_SECONDS)


@pytest.fixture(scope="module")
def good_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encode a short clip without oddities."""
    return encode_clip(
        tmp_path_factory.mktemp("clips") / "good.ts", VideoTrack(count=GOOD_CLIP_FRAMES)
    )
