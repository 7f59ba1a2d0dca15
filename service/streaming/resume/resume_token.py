"""What a client shows to continue a stream: which stream, and the last final result it has."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from service.errors import ResumeTokenInvalid

_TOKEN_PATTERN: Final = re.compile(r"(?a:([\w-]{22})\.(\d{1,18}))")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeToken:
    """stream_id: 128 random bits. index: of that result's frame, as it was sent."""

    stream_id: str
    index: int

    def __str__(self) -> str:
        """As the client is given it."""
        return f"{self.stream_id}.{self.index}"


def parse_resume_token(text: str) -> ResumeToken:
    """Raises ResumeTokenInvalid."""
    found = _TOKEN_PATTERN.fullmatch(text)
    if found is None:
        raise ResumeTokenInvalid()
    return ResumeToken(stream_id=found[1], index=int(found[2]))


def new_stream_id() -> str:
    """Of a stream that nobody can guess."""
    return secrets.token_urlsafe(16)
