"""What is believed of a value that the decode child sent: nothing, before it is checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Final, TypeVar

Record = TypeVar("Record")

_MAX_TEXT: Final = 500


def check_whole(value: object) -> int:
    """A count; raises ValueError."""
    if type(value) is not int or not 0 <= value < 2**53:
        raise ValueError("not a count")
    return value


def check_finite(value: object) -> float:
    """A number; raises ValueError."""
    if type(value) not in (int, float) or not math.isfinite(value):  # pyright: ignore[reportArgumentType]
        raise ValueError("not a number")
    return float(value)  # pyright: ignore[reportArgumentType]


def check_duration(value: object) -> float:
    """Seconds, not negative; raises ValueError."""
    seconds = check_finite(value)
    if seconds < 0:
        raise ValueError("not a duration")
    return seconds


def check_text(value: object) -> str:
    """A text, shortened; raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value[:_MAX_TEXT]


def check_truth(value: object) -> bool:
    """True or false; raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


_CHECKS: Final[Mapping[str, Callable[[object], object]]] = {
    "int": check_whole,
    "float": check_finite,
    "str": check_text,
    "bool": check_truth,
}


def check_record(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """A dataclass of counts, numbers, texts and truths, by its annotations; `| None` as it says.

    Raises: ValueError, TypeError, KeyError.
    """
    checked: dict[str, object] = {}
    for each in fields(kind):  # pyright: ignore[reportArgumentType]
        wanted, _, optional = str(each.type).partition(" | ")
        value = values[each.name]
        absent = value is None and optional == "None"
        checked[each.name] = None if absent else _CHECKS[wanted](value)
    return kind(**checked)
