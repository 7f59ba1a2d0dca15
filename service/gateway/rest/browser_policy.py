"""Protection from web pages: the hosts under which the gateway answers, and the origins it serves.

A page of any site can send requests to every address that its visitor's browser can reach, a
gateway on a loopback address among them. Browsers name the page's origin in `Origin` and
`Sec-Fetch-Site`; clients that are no browsers send neither. With DNS rebinding the page's own name
resolves to the gateway's address: then the origin is right and the name in `Host` is wrong.
Addresses, and names without a dot, which no stranger can register, are not open to that.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.auth.authenticator import is_loopback
from service.errors import HostRefused, OriginRefused, RequestError
from service.gateway.rest.problems import problem_response
from service.settings import Settings

ANY: Final = "*"
"""Value of `allowed_hosts`, `allowed_origins` and `websocket_origins` that allows every one."""
OWN_SITES: Final = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site`: the gateway's own page; an address typed in or a bookmark."""
API_PREFIX: Final = "/v1/"
"""Paths that no link of another page may open."""
MAX_QUOTED_LENGTH: Final = 100


class BrowserPolicy:
    """Decides by `Host`, `Origin` and `Sec-Fetch-Site` whether a request is answered."""

    def __init__(self, settings: Settings, *, requires_keys: bool) -> None:
        self.allowed_origins = _split(settings.allowed_origins)
        self._websocket_origins = self.allowed_origins | _split(settings.websocket_origins)
        self._allowed_hosts = _split(settings.allowed_hosts) | {settings.host.lower()}
        self._allows_any_host = ANY in self._allowed_hosts or (
            requires_keys and not settings.allowed_hosts  # a rebound page has no API key
        )
        self._allows_local_hosts = not is_loopback(settings.host)

    def check(self, request: HTTPConnection) -> None:
        """Check a request, or the handshake of a WebSocket. Raises: HostRefused, OriginRefused."""
        host = request.headers.get("host", "")  # HTTP/1.0 may have none
        if host and not self._is_host_allowed(_strip_port(host)):
            raise HostRefused(
                f"this gateway is not reached as {host[:MAX_QUOTED_LENGTH]!r}; names other than "
                "localhost are listed in CIRCUMPLEX_ALLOWED_HOSTS"
            )
        self._check_origin(request, host)

    def _is_host_allowed(self, host: str) -> bool:
        if self._allows_any_host or host in self._allowed_hosts:
            return True
        if host == "localhost" or host.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return self._allows_local_hosts and "." not in host
        return self._allows_local_hosts or address.is_loopback

    def _check_origin(self, request: HTTPConnection, host: str) -> None:
        is_websocket = request.scope["type"] == "websocket"
        allowed = self._websocket_origins if is_websocket else self.allowed_origins
        origins = request.headers.getlist("origin")
        if ANY in allowed or (origins and all(each.strip().lower() in allowed for each in origins)):
            return
        for origin in origins:
            if not _is_same_host(origin, host):
                quoted = origin[:MAX_QUOTED_LENGTH]
                raise OriginRefused(f"pages of {quoted!r} may not use this gateway")
        sites = {each.strip().lower() for each in request.headers.getlist("sec-fetch-site")}
        if not (sites <= OWN_SITES or _is_followed_link(request)):
            raise OriginRefused("pages of other origins may not use this gateway")


class BrowserPolicyMiddleware:
    """Applies a BrowserPolicy to HTTP requests; the routes of WebSockets apply it themselves."""

    def __init__(self, app: ASGIApp, policy: BrowserPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            request = Request(scope)
            try:
                self._policy.check(request)
            except RequestError as error:
                await problem_response(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _split(names: str) -> frozenset[str]:
    return frozenset(re.split(r"[ ,]+", names.lower())) - {""}


def _strip_port(host: str) -> str:
    """The name or address in a Host header, which the HTTP server has checked."""
    name = host.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def _is_same_host(origin: str, host: str) -> bool:
    """Return True if origin and Host name the same host and port.

    The scheme is not compared: behind a proxy that terminates TLS it is unknown here.
    """
    try:
        return bool(host) and urlsplit(origin.strip().lower()).netloc == host.strip().lower()
    except ValueError:
        return False


def _is_followed_link(request: HTTPConnection) -> bool:
    """Return True if a link of another page opens a page here, which that page cannot read."""
    headers = request.headers
    return (
        request.scope.get("method") in ("GET", "HEAD")
        and headers.getlist("sec-fetch-mode") == ["navigate"]
        and headers.getlist("sec-fetch-dest") == ["document"]
        and not request.url.path.startswith(API_PREFIX)
    )
