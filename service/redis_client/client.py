"""Client of Redis: connections with bounded waits, Lua scripts, and the translation of errors.

    redis.exceptions, OSError, timeouts ──redis_errors_translated──▶ QueueUnavailable
    a command that Redis rejects as invalid ───────────────────────▶ ResponseError (a defect)

Error texts hold no addresses or passwords. Only this package imports redis-py; the others take
the type `Redis` from here.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from typing import Any, Final, TypeVar, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as BrokenConnection
from redis.exceptions import TimeoutError as RedisTimeout

from service.errors import QueueUnavailable
from service.redis_client.sentinel import create_master_client, is_sentinel_url

CONNECT_TIMEOUT_SECONDS: Final = 2.0
RESPONSE_TIMEOUT_SECONDS: Final = 5.0
"""Time-out of one command."""

_OUT_OF_MEMORY: Final = "its memory is full"
_LOADING: Final = "it is still loading its data"
_READ_ONLY: Final = "it takes no writes, being a replica"
_AUTHENTICATION_REJECTED: Final = "it does not accept our user or password"

_REASON_BY_CLASS: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (BusyLoadingError, _LOADING),
    (OutOfMemoryError, _OUT_OF_MEMORY),
    (ReadOnlyError, _READ_ONLY),
    (MasterNotFoundError, "no sentinel knows a master"),
    (MasterDownError, "it is a replica that has lost its master"),
    (AuthenticationError, _AUTHENTICATION_REJECTED),
    (AuthorizationError, _AUTHENTICATION_REJECTED),
    (NoPermissionError, "its access list does not let our user do this"),
    (RedisTimeout, "it does not answer in time"),
    (TimeoutError, "it does not answer in time"),
)
_REASON_BY_CODE: Final = {
    "OOM": _OUT_OF_MEMORY,
    "READONLY": _READ_ONLY,
    "LOADING": _LOADING,
    "NOAUTH": _AUTHENTICATION_REJECTED,
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas follow it",
    "BUSY": "it is busy with a script",
}
"""Codes without a class in redis-py, or that Redis 6.2 wraps when a script meets them."""
__all__ = ["Redis", "ScriptLibrary", "connect_redis", "list_members"]
T = TypeVar("T")
MAX_RETRIES: Final = 2
RETRY_BACKOFF_SECONDS: Final = 0.1
"""Pause before a command is sent again."""
MAX_CONNECTIONS: Final = 32
"""Connections of one client; further callers wait. A command takes about a millisecond."""


@asynccontextmanager
async def redis_errors_translated(
    timeout_seconds: float = RESPONSE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS,
) -> AsyncGenerator[None]:
    """Raise QueueUnavailable for any failure of Redis, or when `timeout_seconds` have passed.

    The error of an invalid command passes unchanged: it is a defect of the caller.
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
    """Raise CancelledError if the task was cancelled inside the block and the block missed it.

    redis-py sends by asyncio.wait_for, which before Python 3.12 loses a cancellation that arrives
    together with the result; the task would never end. Source: python/cpython#86296.
    """
    task = asyncio.current_task()
    requests_before = task.cancelling() if task else 0
    try:
        yield
    finally:
        if task and task.cancelling() > requests_before:
            raise asyncio.CancelledError


def describe_outage(error: BaseException) -> str:
    """Describe an outage by the first error in the chain of causes that explains it."""
    fallback = type(error).__name__
    for cause in _iterate_causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS with it ({cause.reason or 'broken off'})"
        for kind, reason in _REASON_BY_CLASS:
            if isinstance(cause, kind):
                return reason
        if (code := _error_code(cause)) is not None:
            return _REASON_BY_CODE[code]
        if isinstance(cause, OSError) and cause.errno:
            fallback = os.strerror(cause.errno) if cause.errno > 0 else str(cause.strerror)
    return f"no connection to it ({fallback})"


def is_read_only_error(error: ResponseError) -> bool:
    """Return whether the server that answered is not a master, or no longer one."""
    return isinstance(error, ReadOnlyError) or _error_code(error) == "READONLY"


def is_invalid_command(error: BaseException) -> bool:
    """Return whether Redis is available and rejected a command that should never have been sent."""
    return (
        type(error) is ResponseError
        and _error_code(error) is None
        and (error.status_code == "ERR" or str(error).startswith("WRONGTYPE "))
    )


def _error_code(error: BaseException) -> str | None:
    if not isinstance(error, ResponseError):
        return None
    text = str(error)
    found = (code for code in _REASON_BY_CODE if text.startswith(f"{code} ") or f"-{code} " in text)
    return next(found, None)


def _iterate_causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def connect_redis(url: str, *, decode_responses: bool = True) -> Redis:
    """Create a client that connects when first used.

    A command that meets a broken connection, or a master that has become a replica, is sent again
    on a new connection: every command and script must be idempotent.

    Args:
        url: redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://, with the
            options of redis-py in its query (`ssl_ca_certs=...`).
        decode_responses: return str instead of bytes.

    Raises:
        QueueUnavailable: the URL is invalid.

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
        client.connection_pool.make_connection()  # validates the options; connects nothing
    except (TypeError, ValueError):
        # the original message may quote a part of the password
        raise QueueUnavailable("CIRCUMPLEX_REDIS_URL cannot be read") from None
    return client


def _create_client(url: str, options: dict[str, Any]) -> Redis:
    if is_sentinel_url(url):
        return create_master_client(url, options)
    from_url = cast("Callable[..., BlockingConnectionPool]", BlockingConnectionPool.from_url)  # pyright: ignore[reportUnknownMemberType]  # untyped options
    return Redis.from_pool(from_url(url, **options))


class _ReconnectRetry(Retry):
    """Retry of commands that failed because a new connection is needed."""

    def __init__(self) -> None:
        super().__init__(
            ConstantBackoff(RETRY_BACKOFF_SECONDS),
            MAX_RETRIES,
            supported_errors=(BrokenConnection, RedisTimeout, ReadOnlyError),
        )

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> T:
        """Retry as redis-py does, and also when Redis 6.2 reports READONLY from inside a script."""

        async def attempt() -> T:
            try:
                return await do()
            except ResponseError as error:
                if is_read_only_error(error):
                    raise ReadOnlyError(str(error)) from error
                raise

        return await super().call_with_retry(attempt, fail, is_retryable, with_failure_count)


class ScriptLibrary:
    """Lua scripts of one package, from the files `lua/<name>.lua` in it."""

    def __init__(
        self, redis: Redis, package: str, names: Sequence[str], *, prelude: str | None = None
    ) -> None:
        """Load the scripts; they are sent to Redis when first run.

        Args: prelude: name of a file whose text precedes every script.
        """
        self._scripts = {
            name: redis.register_script(load_script(package, name, prelude=prelude))
            for name in names
        }

    async def run(
        self,
        name: str,
        keys: Sequence[str],
        args: Sequence[str | float | bytes],
        *,
        timeout_seconds: float = RESPONSE_TIMEOUT_SECONDS + CONNECT_TIMEOUT_SECONDS,
    ) -> Any:
        """Run a script and return its result; raises QueueUnavailable."""
        async with redis_errors_translated(timeout_seconds):
            return await self._scripts[name](keys=keys, args=args)


def load_script(package: str, name: str, *, prelude: str | None = None) -> str:
    """Read the text of a script, after that of its prelude."""
    folder = files(package) / "lua"
    parts = (name,) if prelude is None else (prelude, name)
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)


async def list_members(redis: Redis, key: str, start: int = 0, stop: int = -1) -> list[str]:
    """List members of a sorted set by ascending score, from rank `start` through `stop`."""
    members: Any = await redis.zrange(key, start, stop)  # pyright: ignore[reportUnknownMemberType]  # score_cast_func is untyped
    return members
