"""FastAPI dependencies of the routes: gateway, caller, idempotency key and wait preference.

Everything is decided from the headers, before the body is read. The routes for health, metrics and
documentation need no caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection

from service.auth.api_key import BEARER, parse_credential
from service.domain.caller import Caller, Scope
from service.errors import (
    HostRefused,
    OriginRefused,
    RateExceeded,
    RequestInvalid,
    ScopeMissing,
    Unauthenticated,
)
from service.gateway.context import GatewayContext
from service.gateway.use_cases.idempotency import KEY_PATTERN, MAX_KEY_LENGTH

API_KEY_HEADER: Final = "X-API-Key"
IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
AUTH_ERRORS: Final = (Unauthenticated, ScopeMissing, RateExceeded, HostRefused, OriginRefused)
"""Errors of every route with a caller, beside QueueUnavailable; for its `responses`."""
WAIT_PATTERN: Final = re.compile(r'\s*wait\s*=\s*"?([0-9]{1,9})"?\s*', re.IGNORECASE)

_BEARER_SCHEME: Final = HTTPBearer(
    scheme_name="bearer", description="An API key of Circumplex.", auto_error=False
)
_API_KEY_SCHEME: Final = APIKeyHeader(
    name=API_KEY_HEADER,
    scheme_name="api_key",
    description="An API key of Circumplex, for clients whose Authorization header is taken, "
    "for instance by a proxy.",
    auto_error=False,
)


def _get_gateway(request: Request) -> GatewayContext:
    return request.app.state.gateway


GatewayDep = Annotated[GatewayContext, Depends(_get_gateway)]
"""The gateway that a route belongs to."""


async def _authorize(
    request: Request,
    gateway: GatewayDep,
    scopes: SecurityScopes,
    _bearer: Annotated[Any, Security(_BEARER_SCHEME)],
    _header: Annotated[Any, Security(_API_KEY_SCHEME)],
) -> Caller:
    request.state.caller = None  # present, even if unidentified: the request is audited
    address = request.client.host if request.client else None
    caller = await gateway.authenticator.identify(extract_credential(request), address)
    request.state.caller = caller
    for scope in scopes.scopes:
        await gateway.authenticator.authorize(caller, Scope(scope))
    return caller


SubmitCaller = Annotated[Caller, Security(_authorize, scopes=[Scope.SUBMIT.value])]
"""A caller that may submit, cancel, retry and delete."""
ReadCaller = Annotated[Caller, Security(_authorize, scopes=[Scope.READ.value])]
"""A caller that may watch, list and fetch."""


def extract_credential(request: HTTPConnection) -> str | None:
    """The API key of a request; raises Unauthenticated if there is more than one.

    A browser page cannot set headers of its WebSocket except the subprotocols that it offers:
    there `bearer.<key>` stands for the key.
    """
    offered: list[str] = request.scope.get("subprotocols", [])
    prefix = f"{BEARER}."
    keys = [name.removeprefix(prefix) for name in offered if name.startswith(prefix)]
    headers = request.headers
    return parse_credential(
        [*keys, *headers.getlist(API_KEY_HEADER)], headers.getlist("authorization")
    )


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
"""The idempotency key of a submission, if any."""


def parse_wait_seconds(lines: Iterable[str]) -> int | None:
    """Parse N of the first `wait=N` in Prefer headers (RFC 7240); unreadable ones are ignored."""
    for preference in ",".join(lines).split(","):
        if found := WAIT_PATTERN.fullmatch(preference.partition(";")[0]):
            return int(found[1])
    return None


async def _get_wait_seconds(
    request: Request,
    gateway: GatewayDep,
    prefer: Annotated[
        str | None,
        Header(
            description="`wait=N`: respond when the job has ended, after N seconds at the latest."
        ),
    ] = None,
) -> int:
    requested = None if prefer is None else parse_wait_seconds(request.headers.getlist("prefer"))
    return min(requested or 0, gateway.settings.max_prefer_wait_seconds)


PreferWait = Annotated[int, Depends(_get_wait_seconds)]
"""Seconds that the client prefers to wait for the job's end, limited by the settings."""
