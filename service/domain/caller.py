"""Callers: owners of jobs, with their scopes, quotas and addresses."""

from __future__ import annotations

import ipaddress
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
    stored_jobs: in any state, until they expire or are deleted.
    stored_bytes: of clips and results. upload_bytes: of one clip.
    """

    requests_per_minute: int | None = None
    open_jobs: int | None = None
    stored_jobs: int | None = None
    stored_bytes: int | None = None
    upload_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Sender of a request.

    owner: the id of its API key; jobs belong to it. address_id: of a caller without a key, from
    `address_id`; None: unknown.
    """

    owner: str
    name: str
    scopes: frozenset[Scope]
    limits: CallerQuotas = field(default_factory=CallerQuotas)
    address_id: str | None = None

    @property
    def client_id(self) -> str:
        """Id by which limits and fair shares count: of the key, else of the address."""
        return self.address_id or self.owner

    def allows(self, scope: Scope) -> bool:
        """Return whether the caller has this scope; an admin has every scope."""
        return scope in self.scopes or Scope.ADMIN in self.scopes

    def can_see(self, owner: str) -> bool:
        """Return whether this caller may see the jobs of `owner`."""
        return self.owner == owner or Scope.ADMIN in self.scopes


IPV6_CLIENT_PREFIX: Final = 64
"""Bits of an IPv6 address that identify a client."""
ANONYMOUS: Final = Caller(owner="anyone", name="anyone", scopes=frozenset(Scope))
"""Caller at a gateway that requires no key."""


def address_id(address: str | None) -> str | None:
    """Id by which the clients of an IP address are counted; None: it is no IP address.

    An IPv6 client usually has a /64 network, whose addresses it can change at will: they count as
    one.
    """
    if address is None:
        return None
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            network = ipaddress.ip_network((parsed, IPV6_CLIENT_PREFIX), strict=False)
            return f"address:{network}"
        parsed = parsed.ipv4_mapped
    return f"address:{parsed}"
