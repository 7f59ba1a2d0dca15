"""The header `Idempotency-Key` of a submission."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Header, Request

from service.errors import RequestInvalid
from service.gateway.use_cases.idempotency import KEY_PATTERN, MAX_KEY_LENGTH

IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"

IDEMPOTENCY_KEY_DOC: Final = {
    "name": IDEMPOTENCY_KEY_HEADER,
    "in": "header",
    "description": "Any text of your own for this one submission, a random UUID say. Sent again "
    "with the same key and body it answers the job of the first time; with another body it is "
    "refused.",
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": MAX_KEY_LENGTH,
        "pattern": KEY_PATTERN,
    },
}
"""For OpenAPI's components and no operation's parameters: a value that is made from a schema and
sent with several requests is just what a key must not be."""


def _get_idempotency_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_KEY_HEADER,
            min_length=1,
            max_length=MAX_KEY_LENGTH,
            pattern=KEY_PATTERN,
            include_in_schema=False,
        ),
    ] = None,
) -> str | None:
    if len(request.headers.getlist(IDEMPOTENCY_KEY_HEADER)) > 1:
        raise RequestInvalid(f"the request has more than one {IDEMPOTENCY_KEY_HEADER}")
    return idempotency_key


IdempotencyKey = Annotated[str | None, Depends(_get_idempotency_key)]
"""The key that a submission comes with, if any."""
