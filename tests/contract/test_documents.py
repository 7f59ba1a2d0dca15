"""Tables, names, links and lines of the documents agree with the code and with each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

import service.errors
from service.domain.media import Anomalies, Flag, MediaInfo
from service.errors import CircumplexError, ClipError, RequestError, ServiceError
from service.results.builder import ESTIMATE_COLUMNS, FACE_COLUMNS
from service.settings import Settings
from tests.documents import (
    DOCUMENTS,
    LINKED_DOCUMENTS,
    ROOT,
    find_anchors,
    find_links,
    read_prose,
)

RESULT_FORMAT = (ROOT / "docs/reference/result-format.md").read_text()
MAX_COLUMNS = 100
CURRENT_DOCUMENTS = [
    each for each in DOCUMENTS if each.name != "CHANGELOG.md" and each.parent.name != "decisions"
]
"""Documents with current names; decision records and the changelog may have older ones."""
FOLDERS = "service|training|e2e_eval|bench|deploy|tests|clients|proto|weights|requirements"
SOURCES = [
    path.read_text() for folder in FOLDERS.split("|") for path in (ROOT / folder).rglob("*.py")
]
CLASSES = {name for text in SOURCES for name in re.findall(r"^class (\w+)", text, re.MULTILINE)}
WIRE_NAMES = {
    name
    for path in (ROOT / "proto").rglob("*.proto")
    for name in re.findall(r"(?:service|message|rpc) (\w+)", path.read_text())
} | {"ErrorInfo", "RetryInfo", "BadRequest", "AbortIncompleteMultipartUpload"}
"""Names of the wire contract, of gRPC's error details and of S3."""
RECORDS = sorted((ROOT / "docs/decisions").glob("0*.md"))
MARKED_SOURCES = [
    path
    for folder in ("training", "service")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if re.search(r"\[[SLI]\]", path.read_text())
]
"""Modules whose docstrings mark the source of a number of the method as [S], [L] or [I]."""
CLIENT_VARIABLES = {"API_KEY"}
"""Variables that the client reads, and the service does not."""


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def leaf_errors(error: type[CircumplexError]) -> Iterator[type[CircumplexError]]:
    """Errors of the service without subclasses; tests define more of them elsewhere."""
    for subclass in error.__subclasses__():
        if not subclass.__subclasses__() and subclass.__module__.startswith("service.errors."):
            yield subclass
        yield from leaf_errors(subclass)


def test_drawing_of_the_error_tree_is_complete() -> None:
    drawn = re.findall(r"[├└]── (\w+)", service.errors.__doc__ or "")
    expected: list[str] = []
    for root in (RequestError, ClipError, ServiceError):
        expected += [root.__name__, *(each.__name__ for each in leaf_errors(root))]
    assert drawn == expected


def test_flag_table_lists_every_flag() -> None:
    table = section(RESULT_FORMAT, "Flags")
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(Flag)


def test_every_media_field_and_anomaly_is_documented() -> None:
    table = section(RESULT_FORMAT, "The media block")
    for each in (*fields(MediaInfo), *fields(Anomalies)):
        assert f"`{each.name}`" in table


def test_every_column_of_a_result_is_described() -> None:
    for name in (*ESTIMATE_COLUMNS, "index", "time", "observed", "missing"):
        assert f"`frames.{name}`" in RESULT_FORMAT
    assert f"`frames.face.{{{','.join(FACE_COLUMNS)}}}`" in RESULT_FORMAT


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_only_settings_that_exist(document: Path) -> None:
    named = set(re.findall(r"\bCIRCUMPLEX_([A-Z_]+[A-Z])\b", document.read_text()))
    assert named - CLIENT_VARIABLES <= {field.upper() for field in Settings.model_fields}


def test_relative_links_and_anchors_resolve() -> None:
    broken = list[str]()
    for document in LINKED_DOCUMENTS:
        for link in find_links(document):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            is_missing = not target.exists()
            if is_missing or (anchor and anchor not in find_anchors(target)):
                broken.append(f"{document.relative_to(ROOT)}: {link}")
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_lines_have_at_most_100_columns(document: Path) -> None:
    long_lines = [
        f"{number}: {line}"
        for number, line in enumerate(document.read_text().splitlines(), 1)
        if len(line) > MAX_COLUMNS and not line.lstrip().startswith("|") and "://" not in line
    ]
    assert long_lines == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_code_blocks_are_fenced(document: Path) -> None:
    lines = ["", *read_prose(document)]
    indented = [line for before, line in pairwise(lines) if not before and line.startswith("    ")]
    assert indented == []


def test_index_links_to_every_page() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in find_links(index)}
    pages = {each for each in DOCUMENTS if each.is_relative_to(index.parent) and each != index}
    decisions = {each for each in pages if each.parent.name == "decisions"}
    assert pages - decisions - linked == set()


@pytest.mark.parametrize("document", CURRENT_DOCUMENTS, ids=lambda path: path.name)
def test_paths_named_in_a_document_exist(document: Path) -> None:
    named = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", "\n".join(read_prose(document)))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", CURRENT_DOCUMENTS, ids=lambda path: path.name)
def test_classes_named_in_a_document_exist(document: Path) -> None:
    named = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)(?:\.\w+)?`", document.read_text()))
    assert named - CLASSES - WIRE_NAMES == set()


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_decision_record_has_a_status_and_is_listed(record: Path) -> None:
    number, lines = record.name[:4], record.read_text().splitlines()
    assert lines[0].startswith(f"# {number}: ")
    assert lines[2].startswith("Status: ")
    assert f"({record.name})" in (record.parent / "README.md").read_text()


@pytest.mark.parametrize("source", MARKED_SOURCES, ids=lambda path: path.stem)
def test_modules_with_sourced_numbers_are_in_the_method(source: Path) -> None:
    method = (ROOT / "docs/explanation/method.md").read_text()
    classes = re.findall(r"^class (\w+)", source.read_text(), re.MULTILINE)
    names = [str(source.relative_to(ROOT)), source.name, *classes]
    assert any(f"`{name}" in method for name in names)


def test_packages_named_in_the_architecture_exist() -> None:
    text = "\n".join(read_prose(ROOT / "docs/explanation/architecture.md"))
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+)`", text)
    roots = (ROOT / "service", ROOT)
    missing = [
        path
        for path in named
        if not any((root / f"{path}{end}").exists() for root in roots for end in ("", ".py"))
    ]
    assert named
    assert missing == []
