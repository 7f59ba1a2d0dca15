"""What can go wrong, as the caller can act on it.

ClientError
├── ProblemError        the server says what is wrong
│   ├── RequestRefused      4xx: change the request
│   ├── ServiceTroubled     5xx: try again later
│   └── JobFailed           the job ended with an error
├── JobCancelled        the job was cancelled
├── Unreachable         no answer, or not one of Circumplex
├── WaitTimedOut        the job is still under way
├── MediaUnfit          what was to be sent does not belong into the stream
├── ResumeImpossible    the stream cannot go on where it broke off
└── ExtraMissing        a part of this package is not installed
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
        """From the JSON object; raises KeyError if it is no problem of Circumplex.

        retry_seconds: what the answer's Retry-After says.
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
    """Everything this package raises on purpose."""


class ProblemError(ClientError):
    """The server says what is wrong, in `problem`."""

    def __init__(self, problem: ProblemDetails) -> None:
        self.problem = problem
        message = problem.detail
        if not message.casefold().startswith(problem.title.casefold()):
            message = f"{problem.title}: {message}"
        super().__init__(f"{message} [{problem.code}]")


class RequestRefused(ProblemError):
    """The request is at fault."""


class ServiceFailed(ProblemError):
    """The service is at fault; `problem.retryable` says whether to try again."""


class JobFailed(ProblemError):
    """The job ended with an error."""


class JobCancelled(ClientError):
    """The job was cancelled: there is no result."""


class ServiceUnreachable(ClientError):
    """No answer came, or one that is not Circumplex's."""


class WaitTimedOut(ClientError):
    """The job is still under way."""


class InvalidMedia(ClientError):
    """What was to be sent does not belong into the stream."""


class ResumeImpossible(ClientError):
    """The service asks for media that it had released, or that it was never sent."""


class ExtraMissing(ClientError):
    """A part of this package that is needed for this is not installed."""
