"""One nursery for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.decoding.extractor import (
    ForkedClipExtractor,
    ForkedStreamExtractor,
    open_clip_extractor,
    open_stream_extractor,
)
from tests.media.decode_workers import SETTINGS, Reader
from tests.media.stream_extraction import RenderedPerformance, render_performance

PERFORMANCE_SECONDS = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clip_extractor() -> AsyncIterator[ForkedClipExtractor]:
    async with open_clip_extractor(SETTINGS) as extraction:
        yield extraction


@pytest.fixture
def reader(clip_extractor: ForkedClipExtractor) -> Reader:
    return Reader(clip_extractor)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def stream_extractor() -> AsyncIterator[ForkedStreamExtractor]:
    async with open_stream_extractor(SETTINGS) as extraction:
        yield extraction


@pytest.fixture(scope="module")
def rendered() -> RenderedPerformance:
    """Two seconds of a drawn face and its voice."""
    return render_performance(PERFORMANCE_SECONDS)
