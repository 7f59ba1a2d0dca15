"""Redis, reached within a bounded time or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.errors import QueueUnavailable

ANSWER_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0


def connect(url: str) -> Redis:
    """A client that connects when first used; every answer is due within ANSWER_SECONDS."""
    return Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # docket's messages are pickles; only their ids are read here
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
    )


@asynccontextmanager
async def reaching_redis() -> AsyncGenerator[None]:
    """Turn every way in which Redis can be away into QueueUnavailable."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS + CONNECT_SECONDS):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailable(
            f"the job queue cannot be reached ({type(error).__name__})"
        ) from error
