"""An API key as it is remembered: everything but its secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from service.domain.caller import Limits, Scope

MAX_NAME_LETTERS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """One key. Times are seconds since the epoch; `last_used_at` is a minute coarse."""

    id: str
    name: str
    scopes: frozenset[Scope]
    limits: Limits = field(default_factory=Limits)
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def refusal(self, now: float) -> str | None:
        """Why the key opens nothing any more; None if it does."""
        if self.revoked_at is not None:
            return f"the API key {self.id} has been revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"the API key {self.id} has expired"
        return None


def is_key_name(text: str) -> bool:
    """Whether a key may be called this: something printable, of bounded length."""
    return text.strip() != "" and len(text) <= MAX_NAME_LETTERS and text.isprintable()


def to_fields(key: ApiKey, digest: str) -> dict[str, str]:
    """The key as a Redis hash; what is None is left out."""
    values = {
        "id": key.id,
        "name": key.name,
        "scopes": " ".join(sorted(key.scopes)),
        "digest": digest,
        **{name: getattr(key, name) for name in _TIMES},
        **{f"{_LIMIT}{name}": getattr(key.limits, name) for name in _LIMITS},
    }
    return {name: str(value) for name, value in values.items() if value is not None}


def from_fields(found: Mapping[str, str]) -> ApiKey:
    """The key a Redis hash holds."""
    limits = {name: int(found[_LIMIT + name]) for name in _LIMITS if _LIMIT + name in found}
    times = {name: float(found[name]) for name in _TIMES if name in found}
    return ApiKey(
        id=found["id"],
        name=found["name"],
        scopes=frozenset(map(Scope, found["scopes"].split())),
        limits=Limits(**limits),
        created_at=times.pop("created_at"),
        **times,
    )


_LIMIT: Final = "limit_"
_LIMITS: Final = tuple(each.name for each in fields(Limits))
_TIMES: Final = ("created_at", "expires_at", "revoked_at", "last_used_at")
