"""API keys: the token that a client holds, and the record that the service stores.

A token is text, `cpx_<id>_<secret><checksum>`. The prefix lets secret scanners find it; the
checksum detects typing errors without a query to Redis. The id is public; the secret is shown
once and only its digest is stored.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final

from service.domain.caller import CallerQuotas, Scope
from service.errors import Unauthenticated

MAX_NAME_LENGTH: Final = 64
BEARER: Final = "bearer"
KEY_PREFIX: Final = "cpx"
ALPHABET: Final = string.digits + string.ascii_letters
"""The 62 characters of ids, secrets and checksums."""
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 43
"""62 ** 43 > 2 ** 256."""
CHECKSUM_LENGTH: Final = 6
"""62 ** 6 > 2 ** 32."""
_PATTERN: Final = re.compile(
    rf"{KEY_PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_"
    rf"([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)
_LIMIT_PREFIX: Final = "limit_"
_LIMIT_NAMES: Final = tuple(each.name for each in fields(CallerQuotas))
_TIME_NAMES: Final = ("created_at", "expires_at", "revoked_at", "last_used_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A parsed token. `text` is the whole token: never log or store it."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        return f"Token(key_id={self.key_id!r})"

    @property
    def digest(self) -> str:
        """SHA-256 of the token in hex, which is stored instead of it.

        A slow password hash is unnecessary: 256 random bits cannot be searched.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A stored key. Times are seconds since the epoch; `last_used_at` is accurate to a minute."""

    id: str
    name: str
    scopes: frozenset[Scope]
    limits: CallerQuotas = field(default_factory=CallerQuotas)
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None

    def rejection_reason(self, now: float) -> str | None:
        """The reason why the key is invalid at `now`; None if it is valid."""
        if self.revoked_at is not None:
            return f"the API key {self.id} has been revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return f"the API key {self.id} has expired"
        return None


def new_token() -> Token:
    """A new random token."""
    key_id = _random_text(ID_LENGTH)
    body = f"{KEY_PREFIX}_{key_id}_{_random_text(SECRET_LENGTH)}"
    return Token(key_id=key_id, text=body + _checksum(body))


def parse_api_key(text: str) -> Token | None:
    """Parse a token; None if the text is malformed or its checksum is wrong."""
    found = _PATTERN.fullmatch(text)
    if found is None or _checksum(text[:-CHECKSUM_LENGTH]) != found[3]:
        return None
    return Token(key_id=found[1], text=text)


def parse_credential(keys: Iterable[str], authorizations: Iterable[str]) -> str | None:
    """The API key of a request, from key headers and from `Bearer <key>` headers; None without.

    Raises: Unauthenticated: there is more than one.
    """
    found = {key.strip() for key in keys}
    for value in authorizations:
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == BEARER:
            found.add(rest.strip())
    if len(found) > 1:
        raise Unauthenticated("the request has more than one API key")
    return found.pop() if found else None


def is_key_name(text: str) -> bool:
    """Return True if a text is valid as a key's name: printable, not blank, of bounded length."""
    return text.strip() != "" and len(text) <= MAX_NAME_LENGTH and text.isprintable()


def to_redis_hash(key: ApiKey, digest: str) -> dict[str, str]:
    """Encode a key as a Redis hash, without the fields that are None."""
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
    """Decode a key from a Redis hash."""
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


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    """CRC-32 in base 62."""
    remainder, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        remainder, digit = divmod(remainder, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
