"""One nursery for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.extraction.door import Extraction, open_extraction
from service.extraction.live_door import LiveExtraction, open_live_extraction
from tests.media.children import SETTINGS, Reader
from tests.media.streaming import Performed, perform

SECONDS = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def extraction() -> AsyncIterator[Extraction]:
    async with open_extraction(SETTINGS) as extraction:
        yield extraction


@pytest.fixture
def reader(extraction: Extraction) -> Reader:
    return Reader(extraction)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def live() -> AsyncIterator[LiveExtraction]:
    async with open_live_extraction(SETTINGS) as extraction:
        yield extraction


@pytest.fixture(scope="module")
def performed() -> Performed:
    """Two seconds of a drawn face and its voice."""
    return perform(SECONDS)
