"""The header `Idempotency-Key` of a submission."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Header, Request

from service.errors import RequestInvalid
from service.office.idempotency import LONGEST, PATTERN

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"

DOCUMENT: Final = {
    "name": HEADER,
    "in": "header",
    "description": "Any text of your own for this one submission, a random UUID say. Sent again "
    "with the same key and body it answers the job of the first time; with another body it is "
    "refused.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": PATTERN},
}
"""For OpenAPI's components and no operation's parameters: a value that is made from a schema and
sent with several requests is just what a key must not be."""


def _key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            min_length=1,
            max_length=LONGEST,
            pattern=PATTERN,
            include_in_schema=False,
        ),
    ] = None,
) -> str | None:
    if len(request.headers.getlist(HEADER)) > 1:
        raise RequestInvalid(f"the request has more than one {HEADER}")
    return idempotency_key


Key = Annotated[str | None, Depends(_key)]
"""The key that a submission comes with, if any."""
