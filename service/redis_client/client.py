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
from service.redis_client.errors import describe_outage, is_invalid_command, is_read_only_error
from service.redis_client.sentinel import create_master_client, is_sentinel_url

T = TypeVar("T")

RESPONSE_TIMEOUT_SECONDS: Final = 5.0
CONNECT_TIMEOUT_SECONDS: Final = 2.0
MAX_RETRIES: Final = 2
RETRY_BACKOFF_SECONDS: Final = 0.1
MAX_CONNECTIONS: Final = 32
"""Of one client. An exchange takes a millisecond: a burst waits its turn, and none is refused."""


def connect_redis(url: str, *, decode_responses: bool = True) -> Redis:
    """A client that connects when first used; every answer is due within ANSWER_SECONDS.

    A command that meets a broken connection, or a master that is one no more, is sent again on
    a new connection, so commands must bear repetition.

    Args: url: redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://, with the
        options of redis-py in its query (`ssl_ca_certs=...`). decodes: whether answers are text.
    Raises: QueueUnavailable: the URL cannot be read.
    """
    options: dict[str, Any] = {
        "max_connections": MAX_CONNECTIONS,
        "timeout": RESPONSE_TIMEOUT_SECONDS,
        "decode_responses": decode_responses,
        "socket_timeout": RESPONSE_TIMEOUT_SECONDS,
        "socket_connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "retry": _ReconnectRetry(),
    }
    try:
        client = _create_client(url, options)
        client.connection_pool.make_connection()  # which reads the options, and connects nothing
    except (TypeError, ValueError):
        # what was wrong may be a piece of the password
        raise QueueUnavailable("CIRCUMPLEX_REDIS_URL cannot be read") from None
    return client


def _create_client(url: str, options: dict[str, Any]) -> Redis:
    if is_sentinel_url(url):
        return create_master_client(url, options)
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))


class _ReconnectRetry(Retry):
    """Repeats what met a connection that has to be made anew."""

    def __init__(self) -> None:
        super().__init__(
            ConstantBackoff(RETRY_BACKOFF_SECONDS),
            MAX_RETRIES,
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
                if is_read_only_error(error):
                    raise ReadOnlyError(str(error)) from error
                raise

        return await super().call_with_retry(attempt, fail, is_retryable, with_failure_count)


@asynccontextmanager
async def redis_errors_translated(
    timeout_seconds: float = RESPONSE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS,
) -> AsyncGenerator[None]:
    """Turn every way in which Redis can be away for so long, or of no use, into QueueUnavailable.

    What it refuses because we asked for nonsense stays what it is: a defect.
    """
    with _cancellation_preserved():
        try:
            async with asyncio.timeout(timeout_seconds):
                yield
        except (RedisError, OSError, TimeoutError) as error:
            if is_invalid_command(error):
                raise
            raise QueueUnavailable(
                f"the job queue cannot be used: {describe_outage(error)}"
            ) from error


@contextmanager
def _cancellation_preserved() -> Generator[None]:
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
