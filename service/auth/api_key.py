"""An API key as it is remembered: everything but its secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from service.domain.caller import CallerQuotas, Scope

MAX_NAME_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. Times are seconds since the epoch; `last_used_at` is a minute coarse."""

    id: str
    name: str
    scopes: frozenset[Scope]
    limits: CallerQuotas = field(default_factory=CallerQuotas)
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def rejection_reason(self, now: float) -> str | None:
        """Why the key opens nothing any more; None if it does."""
        if self.revoked_at is not None:
            return f"the API key {self.id} has been revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"the API key {self.id} has expired"
        return None


def is_key_name(text: str) -> bool:
    """Whether a key may be called this: something printable, of bounded length."""
    return text.strip() != "" and len(text) <= MAX_NAME_LENGTH and text.isprintable()


def to_redis_hash(key: ApiKey, digest: str) -> dict[str, str]:
    """The key as a Redis hash; what is None is left out."""
    values = {
        "id": key.id,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "digest": digest,
        **{name: getattr(key, name) for name in _TIME_NAMES},
        **{f"{_LIMIT_PREFIX}{name}": getattr(key.limits, name) for name in _LIMIT_NAMES},
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def from_redis_hash(found: Mapping[str, str]) -> ApiKey:
    """The key a Redis hash holds."""
    limits = {
        name: int(found[_LIMIT_PREFIX + name])
        for name in _LIMIT_NAMES
        if _LIMIT_PREFIX + name in found
    }
    times = {name: float(found[name]) for name in _TIME_NAMES if name in found}
    return ApiKey(
        id=found["id"],
        name=found["name"],
        scopes=frozenset(map(Scope, found["scopes"].split())),
        limits=CallerQuotas(**limits),
        created_at=times.pop("created_at"),
        **times,
    )


_LIMIT_PREFIX: Final = "limit_"
_LIMIT_NAMES: Final = tuple(each.name for each in fields(CallerQuotas))
_TIME_NAMES: Final = ("created_at", "expires_at", "revoked_at", "last_used_at")
