"""Whose pages may open streams: a browser says where a page comes from, and nobody else does."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from service.errors import OriginRefused
from service.settings import Settings

ANY_ORIGIN: Final = "*"
MAX_QUOTED_LENGTH: Final = 100


def check_origin(request: HTTPConnection, settings: Settings) -> None:
    """Let in what is no page, pages of this very address, and those of `websocket_origins`.

    WebSockets know no same-origin policy: without this, any page that somebody visits could open
    one to whatever their machine can reach. Raises: OriginRefused.
    """
    allowed = set(re.split(r"[ ,]+", settings.websocket_origins.lower()))
    for origin in request.headers.getlist("origin"):
        normalized = origin.strip().lower()
        if (
            ANY_ORIGIN in allowed
            or normalized in allowed
            or _is_same_host(normalized, request.headers.get("host", ""))
        ):
            continue
        raise OriginRefused(f"a page of {origin[:MAX_QUOTED_LENGTH]!r} may not open streams here")


def _is_same_host(origin: str, host: str) -> bool:
    """Whether a page was served under the name and port that it asks now.

    The scheme is not compared: behind a proxy that speaks TLS it is not known here.
    """
    try:
        return bool(host) and urlsplit(origin).netloc == host.strip().lower()
    except ValueError:
        return False
