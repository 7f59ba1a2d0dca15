"""Who asks: the owner of jobs, what they may do and how much of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """What an API key allows."""

    SUBMIT = "submit"
    """Submit, cancel, retry and delete one's own jobs."""
    READ = "read"
    """Watch and list one's own jobs and fetch their results."""
    ADMIN = "admin"
    """All of that, with everybody's jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerQuotas:
    """How much a caller may ask for; None is as much as the service takes.

    requests_per_minute: of any kind. open_jobs: queued and running at a time.
    stored_bytes: clips and results that are kept. upload_bytes: of one clip.
    """

    requests_per_minute: int | None = None
    open_jobs: int | None = None
    stored_bytes: int | None = None
    upload_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The sender of a request. `owner` is whose jobs it submits and sees: the id of its API key."""

    owner: str
    name: str
    scopes: frozenset[Scope]
    limits: CallerQuotas = field(default_factory=CallerQuotas)

    def allows(self, scope: Scope) -> bool:
        """Whether the caller may do this; an admin may do everything."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def can_see(self, owner: str) -> bool:
        """Whether jobs of `owner` exist for this caller."""
        return self.owner == owner or Scope.ADMIN in self.scopes


ANONYMOUS: Final = Caller(owner="anyone", name="anyone", scopes=frozenset(Scope))
"""Every caller of a gateway that asks for no key."""
