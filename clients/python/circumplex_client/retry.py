"""Asking again, for as long as it can help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from circumplex_client.errors import ProblemError, ServiceUnreachable

FIRST_PAUSE_SECONDS: Final = 0.5
MAX_PAUSE_SECONDS: Final = 10.0

T = TypeVar("T")


def call_with_retries(call: Callable[[], T], *, timeout_seconds: float) -> T:
    """What `ask` returns at last; raises what it raised when so many seconds are over.

    Only what may go away is borne: no answer, and problems that call themselves retryable. Their
    Retry-After is kept to; other pauses grow, with jitter.
    """
    until = time.monotonic() + timeout_seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return call()
        except (ProblemError, ServiceUnreachable) as error:
            retry_after_seconds = (
                error.problem.retry_seconds if isinstance(error, ProblemError) else None
            )
            if isinstance(error, ProblemError) and not error.problem.retryable:
                raise
            wait = (
                pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter is no secret
                if retry_after_seconds is None
                else retry_after_seconds
            )
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        pause = min(2 * pause, MAX_PAUSE_SECONDS)
