"""Concurrency limiter: bounds what is under way, in total and for each client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from service.errors import CircumplexError, QuotaExceeded

LIMIT_RETRY_SECONDS: Final = 5.0
"""Advised delay before a client that has reached its own limit tries again."""


class ClientLimiter:
    """Counts what is under way by client: the id of an API key or of an address."""

    def __init__(self, things: str, total_error: type[CircumplexError]) -> None:
        """Count `things`, a plural; `total_error`: raised at the limit of all clients."""
        self._things = things
        self._total_error = total_error
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Number under way in total."""
        return self._counts.total()

    @contextmanager
    def slot(
        self, client_id: str, *, max_per_client: int, max_total: int | None = None
    ) -> Generator[None]:
        """Count one while the context lasts.

        Raises: QuotaExceeded: the client has reached its limit; `total_error`.
        """
        if self._counts[client_id] >= max_per_client:
            raise QuotaExceeded(
                f"{max_per_client} {self._things} of this key or address are under way",
                retry_seconds=LIMIT_RETRY_SECONDS,
            )
        if max_total is not None and self.count >= max_total:
            raise self._total_error(f"{max_total} {self._things} are under way")
        self._counts[client_id] += 1
        try:
            yield
        finally:
            self._counts[client_id] -= 1
            if not self._counts[client_id]:
                del self._counts[client_id]
