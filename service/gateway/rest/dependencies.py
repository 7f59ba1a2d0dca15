"""Who a request comes from, as routes ask for it: `caller: Submitter` or `Reader`.

Decided from the headers alone, before a byte of the body is read. Health, metrics and the
documentation ask nobody.

How routes ask for the gateway that they belong to.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer, SecurityScopes
from starlette.requests import HTTPConnection

from service.auth.token import BEARER, parse_credential
from service.domain.caller import Caller, Scope
from service.errors import RateExceeded, ScopeMissing, Unauthenticated
from service.gateway.context import GatewayContext

API_KEY_HEADER: Final = "X-API-Key"
AUTH_ERRORS: Final = (Unauthenticated, ScopeMissing, RateExceeded)
"""What a route that asks for a caller can answer, beside QueueUnavailable; for its `responses`."""

_BEARER_SCHEME: Final = HTTPBearer(
    scheme_name="bearer", description="An API key of Circumplex.", auto_error=False
)
_API_KEY_SCHEME: Final = APIKeyHeader(
    name=API_KEY_HEADER,
    scheme_name="api_key",
    description="The same API key, where Authorization is somebody else's.",
    auto_error=False,
)


async def _authorize(
    request: Request,
    gateway: GatewayDep,
    scopes: SecurityScopes,
    _bearer: Annotated[Any, Security(_BEARER_SCHEME)],
    _header: Annotated[Any, Security(_API_KEY_SCHEME)],
) -> Caller:
    request.state.caller = None  # this request is one for the audit log, whoever it is
    caller = await gateway.authenticator.identify(extract_credential(request))
    request.state.caller = caller
    for scope in scopes.scopes:
        await gateway.authenticator.authorize(caller, Scope(scope))
    return caller


SubmitCaller = Annotated[Caller, Security(_authorize, scopes=[Scope.SUBMIT.value])]
"""May submit, cancel, retry and delete."""
ReadCaller = Annotated[Caller, Security(_authorize, scopes=[Scope.READ.value])]
"""May watch, list and fetch."""


def make_api_keys_optional(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that its API keys may be left out."""
    for path in document["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].append({})


def extract_credential(request: HTTPConnection) -> str | None:
    """The one API key that a request brings; raises Unauthenticated for more than one.

    A page cannot choose the headers of its WebSocket, but for the protocols that it offers: there
    `bearer.<key>` stands for the key.
    """
    offered: list[str] = request.scope.get("subprotocols", [])
    prefix = f"{BEARER}."
    keys = [name.removeprefix(prefix) for name in offered if name.startswith(prefix)]
    headers = request.headers
    return parse_credential(
        [*keys, *headers.getlist(API_KEY_HEADER)], headers.getlist("authorization")
    )


def _get_gateway(request: Request) -> GatewayContext:
    return request.app.state.gateway


GatewayDep = Annotated[GatewayContext, Depends(_get_gateway)]
"""How a route asks for the gateway."""
