"""The link that leads to the next page of a list (RFC 8288)."""

from __future__ import annotations

from fastapi import Request


def format_next_link(request: Request, token: str) -> str:
    """The header `Link`: the same list, from there on; relative, whatever proxies are between."""
    url = request.url.include_query_params(page_token=token)
    return f'<{url.path}?{url.query}>; rel="next"'
