"""What is believed of a value that the decode child sent: nothing, before it is checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

Record = TypeVar("Record")

_MAX_TEXT_CHARS: Final = 500


def validate_count(value: object) -> int:
    """A count; raises ValueError."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("not a count")
    return value


def validate_number(value: object) -> float:
    """A number; raises ValueError."""
    if type(value) not in (int, float) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
        raise ValueError("not a number")
    return float(value)  # pyright: ignore[reportArgumentType]


def validate_duration(value: object) -> float:
    """Seconds, not negative; raises ValueError."""
    seconds = validate_number(value)
    if seconds < 0:
        raise ValueError("not a duration")
    return seconds


def validate_text(value: object) -> str:
    """A text, shortened; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value[:_MAX_TEXT_CHARS]


def validate_bool(value: object) -> bool:
    """True or false; raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


_VALIDATORS: Final[Mapping[str, Callable[[object], object]]] = {
    "int": validate_count,
    "float": validate_number,
    "str": validate_text,
    "bool": validate_bool,
}


def validate_record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A dataclass of counts, numbers, texts and truths, by its annotations; `| None` as it says.

    Raises: ValueError, TypeError, KeyError.
    """
    checked: dict[str, object] = {}
    for each in fields(kind):  # pyright: ignore[reportArgumentType]
        wanted, _, optional = str(each.type).partition(" | ")
        value = values[each.name]
        absent = value is None and optional == "None"
        checked[each.name] = None if absent else _VALIDATORS[wanted](value)
    return kind(**checked)
