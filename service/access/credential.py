"""The API key that a request brings, whatever the door."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from service.errors import Unauthenticated

BEARER: Final = "bearer"


def one_credential(keys: Iterable[str], authorizations: Iterable[str]) -> str | None:
    """The one key among those sent as such and those sent as `Bearer <key>`.

    Raises: Unauthenticated: there is more than one.
    """
    sent = {key.strip() for key in keys}
    for value in authorizations:
        scheme, _, rest = value.strip().partition(" ")
        if scheme.lower() == BEARER:
            sent.add(rest.strip())
    if len(sent) > 1:
        raise Unauthenticated("the request brings more than one API key")
    return sent.pop() if sent else None
