"""Asking again, for as long as it can help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from circumplex_client.errors import ProblemError, Unreachable

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 10.0

T = TypeVar("T")


def persist(ask: Callable[[], T], *, seconds: float) -> T:
    """What `ask` returns at last; raises what it raised when so many seconds are over.

    Only what may go away is borne: no answer, and problems that call themselves retryable. Their
    Retry-After is kept to; other pauses grow, with jitter.
    """
    until = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return ask()
        except (ProblemError, Unreachable) as error:
            wished = error.problem.retry_seconds if isinstance(error, ProblemError) else None
            if isinstance(error, ProblemError) and not error.problem.retryable:
                raise
            wait = pause * random.uniform(0.5, 1.0) if wished is None else wished  # noqa: S311
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
