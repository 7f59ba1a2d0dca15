"""Pages of a list: the token that leads to the next one."""

from __future__ import annotations

import re
from typing import Final

PLACE: Final = r"^[0-9a-f]{16}$"
"""Every such text is a token: a place in time, where the next page begins."""
MICROSECONDS: Final = 10**6
USUAL_SIZE: Final = 50
MAX_SIZE: Final = 200
"""Jobs on a page."""
CODE: Final = r"^[a-z_]{1,64}$"
OWNER: Final = r"^[0-9A-Za-z]{1,64}$"
"""What an error's code and an API key's id look like."""


def token_of(before: str) -> str:
    """The token of the page of what is older; `before`: seconds with six decimals."""
    return f"{int(before.replace('.', '')):016x}"


def place_of(token: str) -> str:
    """What `token_of` was given."""
    assert re.fullmatch(PLACE, token)
    seconds, microseconds = divmod(int(token, 16), MICROSECONDS)
    return f"{seconds}.{microseconds:06d}"
