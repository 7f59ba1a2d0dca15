"""Errors of the client, by what the caller can do about them.

ClientError
├── ProblemError        the server sent problem details
│   ├── RequestRefused      4xx: change the request
│   ├── ServiceFailed       5xx: try again later
│   └── JobFailed           the job ended with an error
├── JobCancelled        the job was cancelled
├── ServiceUnreachable  no answer, or not one of Circumplex
├── WaitTimedOut        the job is still running
├── InvalidMedia        the media do not fit the stream
├── ResumeImpossible    the stream cannot be resumed
└── ExtraMissing        an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemDetails:
    """RFC 9457 problem details, as the server sent them."""

    code: str
    title: str
    status: int
    detail: str
    retryable: bool
    trace_id: str | None = None
    retry_seconds: float | None = None
    document: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def from_json(cls, document: Mapping[str, Any], *, retry_seconds: float | None = None) -> Self:
        """Parse the JSON object; raises KeyError if it is no problem of Circumplex.

        Args:
            document: the body of the response.
            retry_seconds: value of the response's Retry-After header.

        """
        return cls(
            code=document["code"],
            title=document["title"],
            status=document["status"],
            detail=document["detail"],
            retryable=document["retryable"],
            trace_id=document.get("trace_id"),
            retry_seconds=retry_seconds,
            document=document,
        )


class ClientError(Exception):
    """Base of every error that this package raises on purpose."""


class ProblemError(ClientError):
    """An error with problem details from the server, in `problem`."""

    def __init__(self, problem: ProblemDetails) -> None:
        self.problem = problem
        message = problem.detail
        if not message.casefold().startswith(problem.title.casefold()):
            message = f"{problem.title}: {message}"
        super().__init__(f"{message} [{problem.code}]")


class RequestRefused(ProblemError):
    """The request is invalid, not allowed or over a limit (4xx)."""


class ServiceFailed(ProblemError):
    """The service failed (5xx); `problem.retryable` is true where a retry can succeed."""


class JobFailed(ProblemError):
    """The job ended with an error."""


class JobCancelled(ClientError):
    """The job was cancelled: there is no result."""


class ServiceUnreachable(ClientError):
    """No answer came, or one that is not from Circumplex."""


class WaitTimedOut(ClientError):
    """The job is still queued or running after the timeout."""


class InvalidMedia(ClientError):
    """The media cannot be read, or do not fit the stream's format."""


class ResumeImpossible(ClientError):
    """The service resumes at a position whose media are no longer buffered, or not yet sent."""


class ExtraMissing(ClientError):
    """An optional dependency that is needed here is not installed."""
