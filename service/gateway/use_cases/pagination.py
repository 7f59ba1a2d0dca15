"""Pages of a list: the token that leads to the next one."""

from __future__ import annotations

import re
from typing import Final

CURSOR_PATTERN: Final = r"^[0-9a-f]{16}$"
"""Every such text is a token: a place in time, where the next page begins."""
MICROSECONDS_PER_SECOND: Final = 10**6
DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 200
"""Jobs on a page."""
ERROR_CODE_PATTERN: Final = r"^[a-z_]{1,64}$"
KEY_ID_PATTERN: Final = r"^[0-9A-Za-z]{1,64}$"
"""What an error's code and an API key's id look like."""


def encode_page_token(before: str) -> str:
    """The token of the page of what is older; `before`: seconds with six decimals."""
    return f"{int(before.replace('.', '')):016x}"


def decode_page_token(token: str) -> str:
    """What `token_of` was given."""
    assert re.fullmatch(CURSOR_PATTERN, token)
    seconds, microseconds = divmod(int(token, 16), MICROSECONDS_PER_SECOND)
    return f"{seconds}.{microseconds:06d}"
