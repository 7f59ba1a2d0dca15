"""Checks of a request's head that httptools leaves to the server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from service.errors import RequestMalformed

_HOST: Final = re.compile(rb"([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{0,5})?")
_ABSOLUTE_TARGET: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")

HTTP_VERSIONS: Final = ("1.0", "1.1")

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers with lower-case names, in the order in which they were sent."""


def check_head(headers: RawHeaders, target: bytes, http_version: str) -> None:
    """Check the version, the host and the transfer coding of a request.

    Raises: RequestMalformed.
    """
    if http_version not in HTTP_VERSIONS:
        raise RequestMalformed(f"this is HTTP/{http_version}; the server has HTTP/1.1")
    _check_host(headers, target, http_version)
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and [each.strip().lower() for each in codings] != [b"chunked"]:
        raise RequestMalformed("a body has no transfer coding but 'chunked'")


def _check_host(headers: RawHeaders, target: bytes, http_version: str) -> None:
    """Check that a request names one host (RFC 9112, 3.2): in HTTP/1.0, at most one."""
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
