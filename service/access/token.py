"""What a client holds: an API key as text, `cpx_<id>_<secret><checksum>`.

The prefix lets scanners of secrets find it, the checksum lets anybody tell a token from a typing
error without asking Redis. The id is public; the secret is shown once and never kept.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "cpx"
ALPHABET: Final = string.digits + string.ascii_letters
ID_LETTERS: Final = 12
SECRET_LETTERS: Final = 43
"""62 ** 43 > 2 ** 256."""
CHECKSUM_LETTERS: Final = 6
"""62 ** 6 > 2 ** 32."""
_PATTERN: Final = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LETTERS}}})_"
    rf"([0-9A-Za-z]{{{SECRET_LETTERS}}})([0-9A-Za-z]{{{CHECKSUM_LETTERS}}})"
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
    key_id = _random(ID_LETTERS)
    body = f"{PREFIX}_{key_id}_{_random(SECRET_LETTERS)}"
    return Token(key_id=key_id, text=body + _checksum(body))


def read_token(text: str) -> Token | None:
    """The token that `text` is; None if it cannot be one of ours."""
    found = _PATTERN.fullmatch(text)
    if found is None or _checksum(text[:-CHECKSUM_LETTERS]) != found[3]:
        return None
    return Token(key_id=found[1], text=text)


def _random(letters: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(letters))


def _checksum(body: str) -> str:
    """CRC-32 in base 62."""
    rest, letters = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_LETTERS):
        rest, digit = divmod(rest, len(ALPHABET))
        letters = ALPHABET[digit] + letters
    return letters
