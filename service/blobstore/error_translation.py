"""What can be wrong with a store, in the words of the error tree."""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from service.errors import ServiceError, StoreFull, StoreUnavailable

_FULL_ERRNOS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_PATTERN: Final = re.compile(
    r"No space left|[Qq]uota exceeded|File too large|os error (28|122|27)\b"
    r"|<Code>(XMinioStorageFull|QuotaExceeded|EntityTooLarge|InsufficientCapacity)</Code>"
)
_CODE_PATTERN: Final = re.compile(r"<Code>(\w{1,64})</Code>")
_QUERY_PATTERN: Final = re.compile(r"\?\S*")
_MAX_REASON_CHARS: Final = 300

log = logging.getLogger(__name__)


@contextmanager
def read_errors_translated(key: str) -> Generator[None]:
    """Raises KeyError where there is no such blob, StoreUnavailable where it cannot be had."""
    try:
        yield
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error):
            raise _translate(error) from error
        raise KeyError(key) from error
    except (BaseError, OSError) as error:
        raise _translate(error) from error


@contextmanager
def write_errors_translated() -> Generator[None]:
    """Raises StoreFull or StoreUnavailable."""
    try:
        yield
    except (BaseError, OSError) as error:
        raise _translate(error) from error


def _translate(error: Exception) -> ServiceError:
    """The error for the client, who learns no more; the log has the reason."""
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        log.error("the blob store refuses these credentials or this access: %s", _reason(error))
    else:
        log.warning("the blob store fails: %s", _reason(error))
    full = isinstance(error, OSError) and error.errno in _FULL_ERRNOS
    if full or _FULL_PATTERN.search(str(error)):
        return StoreFull("the blob store is full")
    return StoreUnavailable("the blob store cannot be written or read")


def _reason(error: Exception) -> str:
    """One line, without what could hold a credential: no query of an address, no answer's body."""
    text = str(error) or type(error).__name__
    code = _CODE_PATTERN.search(text)
    line = _QUERY_PATTERN.sub("", text.partition("\n")[0].partition("<")[0]).strip()
    return line[:_MAX_REASON_CHARS] + (f" [{code[1]}]" if code else "")
