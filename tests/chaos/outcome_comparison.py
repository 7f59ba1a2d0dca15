"""What each clip comes to when nothing is killed, and how far another outcome is from that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.chaos.load_generator import JobOutcome

TOLERANCE: Final = 1e-5
"""Of values; networks add in another order when other crops share their batch."""
_IGNORED_KEY: Final = "provenance"
_MAX_DIFFERENCES: Final = 5


def compare_outcomes(expected: JobOutcome, found: JobOutcome) -> list[str]:
    """Where an ending is not the expected one: state, error, and every number of the result."""
    if (found.state, found.error_code) != (expected.state, expected.error_code):
        was = f"{found.state} ({found.error_code})"
        return [f"{was} instead of {expected.state} ({expected.error_code})"]
    if expected.result is None:
        return []
    if found.result is None:
        return ["the result is missing"]
    told: list[str] = []
    for difference in _compare("", expected.result, found.result):
        told.append(difference)
        if len(told) == _MAX_DIFFERENCES:
            break
    return told


def _compare(place: str, expected: Any, found: Any) -> Iterator[str]:
    match expected, found:
        case Mapping(), Mapping():
            if expected.keys() != found.keys():
                yield f"{place}: {sorted(found)} instead of {sorted(expected)}"
            for name in expected.keys() & found.keys() - {_IGNORED_KEY}:
                yield from _compare(f"{place}.{name}", expected[name], found[name])
        case [*wanted], [*got]:
            yield from _compare_rows(place, wanted, got)
        case float() | int(), float() | int() if not isinstance(expected, bool):
            # Pixels are compared with as many digits as shares of a picture.
            if not math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                yield f"{place}: {found} instead of {expected}"
        case _:
            if type(expected) is not type(found) or expected != found:
                yield f"{place}: {found!r} instead of {expected!r}"


def _compare_rows(place: str, expected: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"{place}: {len(found)} rows instead of {len(expected)}"
        return
    for index, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        yield from _compare(f"{place}[{index}]", wanted, got)
