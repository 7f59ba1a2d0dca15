"""Pages of a list: the token that leads to the next one, and its link (RFC 8288)."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request

PLACE: Final = r"^[0-9a-f]{16}$"
"""Every such text is a token: a place in time, where the next page begins."""
MICROSECONDS: Final = 10**6


def token_of(before: str) -> str:
    """The token of the page of what is older; `before`: seconds with six decimals."""
    return f"{int(before.replace('.', '')):016x}"


def place_of(token: str) -> str:
    """What `token_of` was given."""
    assert re.fullmatch(PLACE, token)
    seconds, microseconds = divmod(int(token, 16), MICROSECONDS)
    return f"{seconds}.{microseconds:06d}"


def link_to_next(request: Request, token: str) -> str:
    """The header `Link`: the same list, from there on; relative, whatever proxies are between."""
    url = request.url.include_query_params(page_token=token)
    return f'<{url.path}?{url.query}>; rel="next"'
