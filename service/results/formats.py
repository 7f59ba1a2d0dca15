"""The catalogue of result formats: what a client may ask for and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from service.errors import ResultFormatUnknown
from service.results.columns import AnalysisResult
from service.results.csv import write_csv
from service.results.json import write_json


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFormat:
    """One way to write a result; its name is also the file suffix."""

    name: str
    media_type: str
    write: Callable[[AnalysisResult], Iterator[bytes]]


JSON: Final = ResultFormat(name="json", media_type="application/json", write=write_json)
CSV: Final = ResultFormat(name="csv", media_type="text/csv", write=write_csv)
FORMATS: Final[Mapping[str, ResultFormat]] = {each.name: each for each in (JSON, CSV)}


def find_format(name: str) -> ResultFormat:
    """The format of this name or file suffix (`json`, `.json`); raises ResultFormatUnknown."""
    found = FORMATS.get(name.lower().lstrip("."))
    if found is None:
        raise ResultFormatUnknown(
            f"results are offered as {', '.join(FORMATS)}, not as {name[:40]!r}"
        )
    return found
