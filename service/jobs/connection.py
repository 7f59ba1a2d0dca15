"""Redis, reached within a bounded time or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as NoAnswer

from service.errors import QueueUnavailable
from service.jobs.outage import is_defect, reason_of, refuses_writes
from service.jobs.sentinel import is_sentinel_url, open_master

T = TypeVar("T")

ANSWER_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 2.0
RETRIES: Final = 2
RETRY_PAUSE_SECONDS: Final = 0.1
MAX_CONNECTIONS: Final = 32
"""Of one client. An exchange takes a millisecond: a burst waits its turn, and none is refused."""


def connect(url: str, *, decodes: bool = True) -> Redis:
    """A client that connects when first used; every answer is due within ANSWER_SECONDS.

    A command that meets a broken connection, or a master that is one no more, is sent again on
    a new connection, so commands must bear repetition.

    Args: url: redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://, with the
        options of redis-py in its query (`ssl_ca_certs=...`). decodes: whether answers are text.
    Raises: QueueUnavailable: the URL cannot be read.
    """
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": ANSWER_SECONDS,
        "decode_responses": decodes,
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "retry": _Repeat(),
    }
    try:
        client = _client_of(url, options)
        client.connection_pool.make_connection()  # which reads the options, and connects nothing
    except (TypeError, ValueError):
        # what was wrong may be a piece of the password
        raise QueueUnavailable("CIRCUMPLEX_REDIS_URL cannot be read") from None
    return client


def _client_of(url: str, options: dict[str, Any]) -> Redis:
    if is_sentinel_url(url):
        return open_master(url, options)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


class _Repeat(Retry):
    """Repeats what met a connection that has to be made anew."""

    def __init__(self) -> None:
        super().__init__(
            ConstantBackoff(RETRY_PAUSE_SECONDS),
            RETRIES,
            supported_errors=(BrokenConnection, NoAnswer, ReadOnlyError),
        )

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """As redis-py does, and for a script that Redis 6.2 refused with its own words too."""

        async def attempt() -> T:
            try:
                return await do()
            except ResponseError as error:
                if refuses_writes(error):
                    raise ReadOnlyError(str(error)) from error
                raise

        return await super().call_with_retry(attempt, fail, is_retryable, with_failure_count)


@asynccontextmanager
async def reaching_redis(
    seconds: float = ANSWER_SECONDS + CONNECT_SECONDS,
) -> AsyncGenerator[None]:
    """Turn every way in which Redis can be away for so long, or of no use, into QueueUnavailable.

    What it refuses because we asked for nonsense stays what it is: a defect.
    """
    with _cancellable():
        try:
            async with asyncio.timeout(seconds):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            if is_defect(error):
                raise
            raise QueueUnavailable(f"the job queue cannot be used: {reason_of(error)}") from error


@contextmanager
def _cancellable() -> Generator[None]:
    """Raises CancelledError where the task was cancelled inside, and did not notice.

    redis-py sends by asyncio.wait_for, which before Python 3.12 forgets a cancellation that comes
    in the moment of success: the caller would never end. Source: python/cpython#86296.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > asked:
            raise asyncio.CancelledError
