"""The API key that a request brings, whatever the door.

What a client holds: an API key as text, `cpx_<id>_<secret><checksum>`.

The prefix lets scanners of secrets find it, the checksum lets anybody tell a token from a typing
error without asking Redis. The id is public; the secret is shown once and never kept.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from service.errors import Unauthenticated

BEARER: Final = "bearer"


def parse_credential(keys: Iterable[str], authorizations: Iterable[str]) -> str | None:
    """The one key among those sent as such and those sent as `Bearer <key>`.

    Raises: Unauthenticated: there is more than one.
    """
    found = {key.strip() for key in keys}
    for value in authorizations:
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == BEARER:
            found.add(rest.strip())
    if len(found) > 1:
        raise Unauthenticated("the request brings more than one API key")
    return found.pop() if found else None


KEY_PREFIX: Final = "cpx"
ALPHABET: Final = string.digits + string.ascii_letters
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 43
"""62 ** 43 > 2 ** 256."""
CHECKSUM_LENGTH: Final = 6
"""62 ** 6 > 2 ** 32."""
_PATTERN: Final = re.compile(
    rf"{KEY_PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_"
    rf"([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token in its parts; `text` is the whole and never to be written anywhere."""

    key_id: str
    text: str

    def __repr__(self) -> str:
        return f"Token(key_id={self.key_id!r})"

    @property
    def digest(self) -> str:
        """What is kept of it, in hex.

        A slow hash protects what people think up. Of 256 random bits nobody can try any share
        worth naming, so one SHA-256 is as good, and costs no request a tenth of a second.
        """
        return hashlib.sha256(self.text.encode()).hexdigest()


def new_token() -> Token:
    """A token that cannot be guessed."""
    key_id = _random_text(ID_LENGTH)
    body = f"{KEY_PREFIX}_{key_id}_{_random_text(SECRET_LENGTH)}"
    return Token(key_id=key_id, text=body + _checksum(body))


def parse_api_key(text: str) -> Token | None:
    """The token that `text` is; None if it cannot be one of ours."""
    found = _PATTERN.fullmatch(text)
    if found is None or _checksum(text[:-CHECKSUM_LENGTH]) != found[3]:
        return None
    return Token(key_id=found[1], text=text)


def _random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    """CRC-32 in base 62."""
    remainder, digits = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LENGTH):
        remainder, digit = divmod(remainder, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
