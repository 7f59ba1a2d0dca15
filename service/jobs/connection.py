"""Redis, reached within a bounded time or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from service.errors import QueueUnavailable

ANSWER_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
RETRIES: Final = 2
RETRY_PAUSE_SECONDS: Final = 0.1
MOST_CONNECTIONS: Final = 32
"""Of one client. An exchange takes a millisecond: a burst waits its turn, and none is refused."""


def connect(url: str) -> Redis:
    """A client that connects when first used; every answer is due within ANSWER_SECONDS.

    A command that meets a broken connection is sent again, so commands must bear repetition.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=ANSWER_SECONDS,
        decode_responses=True,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
        retry=Retry(ConstantBackoff(RETRY_PAUSE_SECONDS), RETRIES),
    )
    return Redis.from_pool(pool)


@asynccontextmanager
async def reaching_redis(
    seconds: float = ANSWER_SECONDS + CONNECT_SECONDS,
) -> AsyncGenerator[None]:
    """Turn every way in which Redis can be away, for so long, into QueueUnavailable."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError, TimeoutError) as error:
        raise QueueUnavailable(
            f"the job queue cannot be reached ({type(error).__name__})"
        ) from error
