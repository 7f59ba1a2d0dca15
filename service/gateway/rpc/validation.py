"""Fields of requests that must be one of a few words, or of a certain form."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TypeVar

from service.errors import RequestInvalid

E = TypeVar("E", bound=StrEnum)
D = TypeVar("D")


def parse_enum(field: str, kind: type[E], text: str, default: D) -> E | D:
    """The word that `text` is; `default` where it is empty. Raises: RequestInvalid."""
    if not text:
        return default
    try:
        return kind(text)
    except ValueError as error:
        words = ", ".join(kind)
        raise RequestInvalid(f"must be one of {words}", field=field) from error


def parse_pattern(field: str, pattern: str, text: str) -> str | None:
    """`text` if it has this form, None where it is empty. Raises: RequestInvalid."""
    if text and not re.fullmatch(pattern, text):
        raise RequestInvalid(f"must match {pattern}", field=field)
    return text or None
