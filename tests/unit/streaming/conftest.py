"""Fixtures of the tests of streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from service.embedded.redis import run_redis
from tests.fake_estimators import write_fake_estimator
from tests.unit.streaming.stream_harness import CLASSES, StreamHarness


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("live-redis")
    with run_redis(data_dir=folder, logs_dir=folder) as url:
        yield url


@pytest.fixture
async def make_harness(
    redis_url: str, tmp_path: Path
) -> AsyncIterator[Callable[..., StreamHarness]]:
    """A factory of stream managers with settings of their own that share one Redis."""
    write_fake_estimator(tmp_path, classes=CLASSES)
    async with AsyncExitStack() as exits:

        def make(**settings: Any) -> StreamHarness:
            harness = StreamHarness(tmp_path, **{"redis_url": redis_url} | settings)
            exits.push_async_callback(harness.redis.aclose)
            return harness

        yield make
