"""One nursery for each file of tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from service.extraction.door import Extraction, open_extraction
from tests.media.children import SETTINGS, Reader


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def extraction() -> AsyncIterator[Extraction]:
    async with open_extraction(SETTINGS) as extraction:
        yield extraction


@pytest.fixture
def reader(extraction: Extraction) -> Reader:
    return Reader(extraction)
