"""Callers: owners of jobs, with their scopes and quotas."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Scope(StrEnum):
    """Permission of an API key."""

    SUBMIT = "submit"
    """Submit, cancel, retry and delete one's own jobs."""
    READ = "read"
    """Watch and list one's own jobs and fetch their results."""
    ADMIN = "admin"
    """Both, for the jobs of all owners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerQuotas:
    """Limits of a caller; None: the limits of the service.

    requests_per_minute: of any kind. open_jobs: queued and running at a time.
    stored_bytes: of clips and results. upload_bytes: of one clip.
    """

    requests_per_minute: int | None = None
    open_jobs: int | None = None
    stored_bytes: int | None = None
    upload_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Sender of a request. owner: the id of its API key; jobs belong to it."""

    owner: str
    name: str
    scopes: frozenset[Scope]
    limits: CallerQuotas = field(default_factory=CallerQuotas)

    def allows(self, scope: Scope) -> bool:
        """Return whether the caller has this scope; an admin has every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def can_see(self, owner: str) -> bool:
        """Return whether this caller may see the jobs of `owner`."""
        return self.owner == owner or Scope.ADMIN in self.scopes


ANONYMOUS: Final = Caller(owner="anyone", name="anyone", scopes=frozenset(Scope))
"""Caller at a gateway that requires no key."""
