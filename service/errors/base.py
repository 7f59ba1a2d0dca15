"""The root of the tree: what every error tells of itself."""

from __future__ import annotations

from typing import ClassVar, Final

RETRY_SECONDS: Final = 2
"""When to try again where trying again can help, and nothing else is known."""


class CircumplexError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, retry_seconds: float | None = None) -> None:
        """detail: what was wrong this time; retry_seconds: when to try again, where it is known."""
        self.detail = detail or self.title()
        self.retry_seconds = retry_seconds
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
