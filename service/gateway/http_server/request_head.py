"""Checks of a request's head that httptools leaves to the server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from service.errors import RequestMalformed

_HOST: Final = re.compile(rb"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_ABSOLUTE_TARGET: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers with lower-case names, in the order in which they were sent."""


def check_host(headers: RawHeaders, target: bytes, http_version: str) -> None:
    """Check that a request names one host (RFC 9112, 3.2): in HTTP/1.0, at most one.

    Raises: RequestMalformed.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        if hosts or http_version != "1.0":
            raise RequestMalformed(f"a request has one Host header; this one has {len(hosts)}")
        return
    if not _HOST.fullmatch(hosts[0]):
        raise RequestMalformed("the Host header names no host")
    absolute = _ABSOLUTE_TARGET.match(target)
    if absolute and absolute[1].lower() != hosts[0].lower():
        raise RequestMalformed("the Host header and the request's target name two hosts")


def find_content_length(headers: RawHeaders) -> int | None:
    """Return the Content-Length, which httptools has checked; None: a chunked body, or none."""
    return next((int(value) for name, value in headers if name == b"content-length"), None)
