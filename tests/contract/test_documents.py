"""What the documents list is what the code has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from service.domain.media import Anomalies, Flag, MediaInfo
from service.errors import CircumplexError, ClipError, RequestError, ServiceError
from service.results.columns import ESTIMATE_COLUMNS, FACE_COLUMNS
from service.settings import Settings

ROOT = Path(__file__).parents[2]
API = (ROOT / "docs/api.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "weights").glob("*/README.md")),
]


def leaf_errors(error: type[CircumplexError]) -> Iterator[type[CircumplexError]]:
    for child in error.__subclasses__():
        if not child.__subclasses__():
            yield child
        yield from leaf_errors(child)


def test_error_table_is_the_error_tree() -> None:
    expected = [
        f"| `{each.code}` | {each.http_status} | {'yes' if each.retryable else 'no'} "
        f"| {each.title()} |"
        for root in (RequestError, ClipError, ServiceError)
        for each in leaf_errors(root)
        if each.__module__.startswith("service.errors.")
    ]
    table = API.partition("## Errors")[2].partition("\n## ")[0]
    assert [line for line in table.splitlines() if line.startswith("| `")] == expected


def test_flag_table_lists_every_flag() -> None:
    table = API.partition("## Flags")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(Flag)


def test_every_media_field_and_anomaly_is_documented() -> None:
    table = API.partition("## The media block")[2].partition("\n## ")[0]
    for each in (*fields(MediaInfo), *fields(Anomalies)):
        assert f"`{each.name}`" in table


def test_every_column_of_a_result_is_described() -> None:
    for name in (*ESTIMATE_COLUMNS, "index", "time", "observed", "missing"):
        assert f"`frames.{name}`" in API
    assert f"`frames.face.{{{','.join(FACE_COLUMNS)}}}`" in API


def test_operations_name_only_settings_that_exist() -> None:
    named = set(re.findall(r"`CIRCUMPLEX_([A-Z_]+)`", OPERATIONS))
    assert named
    assert named <= {field.upper() for field in Settings.model_fields}


def test_relative_links_resolve() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"
