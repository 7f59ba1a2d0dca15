"""How long a stream's trouble is borne, and how long to wait before the next call."""

from __future__ import annotations

import random
import time
from typing import Final

from circumplex_client.live.call_errors import CallInterrupted

FIRST_PAUSE_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 5.0
STABLE_CALL_SECONDS: Final = 10.0
"""A call that was accepted and lasted so long was no trouble, even if it brought nothing."""


class RetryPolicy:
    """Pauses grow, with jitter, until something new comes."""

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._accepted_at: float | None = None
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._failing_since: float | None = None

    def record_accepted(self) -> None:
        """The service has taken the call."""
        self._accepted_at = time.monotonic()

    def reset(self) -> None:
        """Something new has come."""
        self._pause_seconds, self._failing_since = FIRST_PAUSE_SECONDS, None

    def next_pause_seconds(self, broken: CallInterrupted) -> float:
        """Seconds to wait; raises the error when patience is over."""
        now = time.monotonic()
        if self._accepted_at is not None and now - self._accepted_at > STABLE_CALL_SECONDS:
            self.reset()
        self._accepted_at = None
        self._failing_since = now if self._failing_since is None else self._failing_since
        pause = self._pause_seconds * random.uniform(0.5, 1.0)  # noqa: S311
        if broken.retry_seconds is not None:
            pause += broken.retry_seconds
        if now + pause - self._failing_since > self._timeout_seconds:
            raise broken.error from broken
        self._pause_seconds = min(2 * self._pause_seconds, MAX_PAUSE_SECONDS)
        return pause
