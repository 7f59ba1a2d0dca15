"""How long a stream's trouble is borne, and how long to wait before the next call."""

from __future__ import annotations

import random
import time
from typing import Final

from circumplex_client.live.breaks import CallBroken

FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 5.0
LASTING_SECONDS: Final = 10.0
"""A call that was accepted and lasted so long was no trouble, even if it brought nothing."""


class Patience:
    """Pauses grow, with jitter, until something new comes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._accepted_at: float | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._since: float | None = None

    def accept(self) -> None:
        """The service has taken the call."""
        self._accepted_at = time.monotonic()

    def rejoice(self) -> None:
        """Something new has come."""
        self._pause, self._since = FIRST_PAUSE_SECONDS, None

    def pause_after(self, broken: CallBroken) -> float:
        """Seconds to wait; raises the error when patience is over."""
        now = time.monotonic()
        if self._accepted_at is not None and now - self._accepted_at > LASTING_SECONDS:
            self.rejoice()
        self._accepted_at = None
        self._since = now if self._since is None else self._since
        pause = self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        if broken.retry_seconds is not None:
            pause += broken.retry_seconds
        if now + pause - self._since > self._seconds:
            raise broken.error from broken
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        return pause
