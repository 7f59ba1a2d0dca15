"""The catalogue, and files that are copied, checked and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.domain.estimator import NAME_PATTERN
from service.errors import (
    CatalogueEntryUnknown,
    CatalogueInvalid,
    ModelFileMismatch,
    ModelFileMissing,
    ModelFileTooLarge,
)
from service.model_catalogue.entries import read_catalogue
from service.model_catalogue.file_hashes import hash_file
from service.model_catalogue.pulled_files import PulledFiles
from tests.unit.model_catalogue.entries import CONTENT, make_entry


def test_own_catalogue_pins_each_file() -> None:
    catalogue = read_catalogue()
    assert [entry.name for entry in catalogue.entries] == ["mbf_va_mtl", "enet_b0_8_va_mtl"]
    for entry in catalogue.entries:
        assert "/f1df0e8548c666d268826e50b7de107fd5553e9d/" in entry.url
        assert entry.git_blob_sha1 is not None
        assert len(entry.classes) == 8
        assert len(entry.licences.by_name()) == 3
        assert NAME_PATTERN.fullmatch(entry.name)


def test_a_git_blob_hash_is_that_of_git(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello\n")
    found = hash_file(tmp_path / "file")
    assert found.git_blob_sha1 == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object
    assert found.size == 6


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc/passwd"),
        ("name", "a/b"),
        ("name", "A"),
        ("name", "a@1"),
        ("name", ""),
        ("url", "http://example.com/net.onnx"),
        ("url", "https://user:secret@example.com/net.onnx"),
        ("url", "file:///etc/passwd"),
        ("url", "https:///net.onnx"),
        ("url", "https://[/net.onnx"),
        ("url", "https://example.com/net .onnx"),
        ("git_blob_sha1", "194db927"),
        ("git_blob_sha1", None),
        ("max_bytes", 2**40),
        ("classes", ["anger"] * 8),
        ("classes", ["anger"]),
        ("architecture", "resnet"),
        ("published_error", [0.4]),
        ("published_error", [float("nan"), 0.4]),
        ("title", "a\u001b[31mb"),
        ("pickle", "yes"),
    ],
)
def test_a_hostile_entry_is_refused(field: str, value: Any, tmp_path: Path) -> None:
    document = make_entry().model_dump(mode="json") | {field: value}
    (tmp_path / "catalogue.json").write_text(json.dumps({"entries": [document]}))
    with pytest.raises(CatalogueInvalid, match=f"entries.0(.{field})?"):
        read_catalogue(tmp_path / "catalogue.json")


def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    document = make_entry().model_dump(mode="json")
    (tmp_path / "catalogue.json").write_text(json.dumps({"entries": [document, document]}))
    with pytest.raises(CatalogueInvalid, match="twice"):
        read_catalogue(tmp_path / "catalogue.json")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"{}", b" " * 2**21])
def test_a_damaged_catalogue_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "catalogue.json").write_bytes(content)
    with pytest.raises(CatalogueInvalid):
        read_catalogue(tmp_path / "catalogue.json")


def test_a_catalogue_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueInvalid, match="No such file"):
        read_catalogue(tmp_path / "catalogue.json")


@pytest.mark.parametrize("name", ["", "mbf", "../mbf_va_mtl", "mbf_va_mtl@1", "x" * 10_000])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(CatalogueEntryUnknown, match="mbf_va_mtl, enet_b0_8_va_mtl"):
        read_catalogue().find(name)


def test_a_file_is_copied_checked_and_removed(tmp_path: Path) -> None:
    entry, files = make_entry(), PulledFiles(tmp_path / "pulled")
    (tmp_path / "net").write_bytes(CONTENT)
    path = files.copy(entry, tmp_path / "net", [])
    assert files.check(entry).size == len(CONTENT)
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ModelFileMismatch):
        files.check(entry)
    assert files.remove(entry)
    assert not files.remove(entry)
    assert list((tmp_path / "pulled").iterdir()) == []
    with pytest.raises(ModelFileMissing):
        files.check(entry)


def test_another_file_is_not_copied_over_the_right_one(tmp_path: Path) -> None:
    entry, files = make_entry(), PulledFiles(tmp_path / "pulled")
    (tmp_path / "net").write_bytes(CONTENT)
    files.copy(entry, tmp_path / "net", [])
    (tmp_path / "net").write_bytes(CONTENT[1:])
    with pytest.raises(ModelFileMismatch):
        files.copy(entry, tmp_path / "net", [])
    assert files.check(entry).size == len(CONTENT)


def test_only_a_file_within_the_limit_is_copied(tmp_path: Path) -> None:
    entry, files = make_entry(max_bytes=1000), PulledFiles(tmp_path / "pulled")
    (tmp_path / "net").write_bytes(CONTENT)
    with pytest.raises(ModelFileTooLarge):
        files.copy(entry, tmp_path / "net", [])
    for source in (tmp_path, tmp_path / "nothing", Path("/dev/zero")):
        with pytest.raises(ModelFileMissing):
            files.copy(entry, source, [])
