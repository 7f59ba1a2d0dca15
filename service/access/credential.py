"""The API key that a request brings, whatever the door."""

from __future__ import annotations

from collections.abc import Iterable
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
