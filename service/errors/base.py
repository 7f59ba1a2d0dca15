"""CircumplexError, the root of the error tree."""

from __future__ import annotations

from typing import ClassVar, Final

DEFAULT_RETRY_SECONDS: Final = 2
"""Default delay before a retry of a retryable error."""


class CircumplexError(Exception):
    """An error of the service.

    Each class defines its stable code, its HTTP and gRPC status, and whether a retry can help; the
    first line of its docstring is its title. `condemns_clip`: no attempt at the same clip can
    succeed, so that the clip need not be kept.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False
    condemns_clip: ClassVar[bool] = False

    def __init__(self, detail: str | None = None, *, retry_seconds: float | None = None) -> None:
        """detail: the cause of this occurrence; retry_seconds: delay before a retry, if known."""
        self.detail = detail or self.title()
        self.retry_seconds = retry_seconds
        super().__init__(self.detail)

    @classmethod
    def title(cls) -> str:
        """The first line of the class docstring, without its full stop."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")
