"""Why Redis is of no use at the moment, in words that hold no address and no password."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Final

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as NoAnswer

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
    (NoAnswer, "it does not answer in time"),
    (TimeoutError, "it does not answer in time"),
)
_REASON_BY_CODE: Final = {
    "OOM": _OUT_OF_MEMORY,
    "READONLY": _READ_ONLY,
    "LOADING": _LOADING,
    "NOAUTH": _AUTHENTICATION_REJECTED,
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas follow it",
    "BUSY": "it is busy with somebody's script",
}
"""Codes that redis-py has no class for, or that Redis 6.2 wraps when it meets them in a script."""


def describe_outage(error: BaseException) -> str:
    """What stands in the way, as far as the error or one that it came from tells."""
    closest = type(error).__name__
    for one in _iterate_causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({one.verify_message})"
        if isinstance(one, ssl.SSLError):
            return f"no TLS with it ({one.reason or 'broken off'})"
        for kind, reason in _REASON_BY_CLASS:
            if isinstance(one, kind):
                return reason
        if (code := _error_code(one)) is not None:
            return _REASON_BY_CODE[code]
        if isinstance(one, OSError) and one.errno:
            closest = os.strerror(one.errno) if one.errno > 0 else str(one.strerror)
    return f"no connection to it ({closest})"


def is_read_only_error(error: ResponseError) -> bool:
    """Whether whoever answered is no master (any more)."""
    return isinstance(error, ReadOnlyError) or _error_code(error) == "READONLY"


def is_invalid_command(error: BaseException) -> bool:
    """Whether Redis is well, and refused a command that should never have been sent."""
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
    at: BaseException | None = error
    seen: set[int] = set()
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__ or at.__context__
