"""Model repository on disk: listed, resolved, current versions, removal, damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from service.domain.estimator import EstimatorChoice, EstimatorId
from service.errors import (
    CircumplexError,
    ModelNotServed,
    ModelsMissing,
    ModelUnknown,
)
from service.estimators.repository import EstimatorRepository
from tests.fake_estimators import make_manifest_document, write_fake_estimator

MINI_1, MINI_2, MINI_10 = (EstimatorId("mini", version) for version in (1, 2, 10))


@pytest.fixture
def repository(tmp_path: Path) -> EstimatorRepository:
    """Three versions of one name, one of another, and files that are no manifests."""
    for version in (10, 1, 2):
        write_fake_estimator(tmp_path, "mini", version)
    write_fake_estimator(tmp_path, "other", 1)
    for name in ("mini.json", "mini@3.json.bak", "mini@x.json", "Mini@1.json", "mini@1.copy.json"):
        (tmp_path / name).write_text("{}")
    return EstimatorRepository(tmp_path)


def resolve(repository: EstimatorRepository, text: str) -> str:
    return str(repository.resolve(EstimatorChoice.parse(text)))


def test_exported_versions_are_listed_in_order(repository: EstimatorRepository) -> None:
    assert [*map(str, repository.list_ids())] == ["mini@1", "mini@2", "mini@10", "other@1"]


def test_a_name_means_its_current_version_and_without_one_its_newest(
    repository: EstimatorRepository,
) -> None:
    assert resolve(repository, "mini") == "mini@10"
    repository.set_current(MINI_2)
    assert resolve(repository, "mini") == "mini@2"
    assert resolve(repository, "mini@1") == "mini@1"
    assert resolve(repository, "other") == "other@1"
    assert repository.read_versions() == {"mini": 2}


def test_unknown_names_and_versions_are_different_errors(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnknown, match="'else'"):
        resolve(repository, "else")
    with pytest.raises(ModelNotServed, match="mini@3 is not exported; there are mini@1, mini@2, m"):
        resolve(repository, "mini@3")
    empty = EstimatorRepository(tmp_path / "empty")
    with pytest.raises(ModelsMissing, match=r"make export.*CIRCUMPLEX_MODEL_REPOSITORY"):
        resolve(empty, "mini")
    assert empty.list_ids() == []


def test_a_version_that_is_not_exported_does_not_become_current(
    repository: EstimatorRepository,
) -> None:
    with pytest.raises(ModelNotServed, match="mini@3 is not exported"):
        repository.set_current(EstimatorId("mini", 3))
    assert repository.read_versions() == {}


def test_a_current_version_whose_manifest_is_gone_is_not_replaced_silently(
    repository: EstimatorRepository,
) -> None:
    repository.set_current(MINI_2)
    repository.manifest_file(MINI_2).unlink()
    with pytest.raises(ModelNotServed, match="mini@2 is not exported"):
        resolve(repository, "mini")


def test_the_next_version_follows_the_newest(repository: EstimatorRepository) -> None:
    assert [repository.next_version(name) for name in ("mini", "other", "new")] == [11, 2, 1]


def test_the_number_of_a_removed_version_is_not_given_again(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    """A job that is pinned to it would run on other weights."""
    for estimator in (MINI_10, MINI_2):
        repository.remove(estimator)
    assert [repository.next_version(name) for name in ("mini", "other")] == [11, 2]
    assert repository.list_ids() == [MINI_1, EstimatorId("other", 1)]
    (tmp_path / "removed.json").write_text("{")
    with pytest.raises(ModelNotServed, match=r"removed\.json cannot be used"):
        repository.remove(MINI_1)
    assert MINI_1 in repository.list_ids()


def test_removing_leaves_no_file_and_the_newest_becomes_current(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    repository.set_current(MINI_1)
    (tmp_path / "mini@1.notes").write_text("mine")
    repository.remove(MINI_1)
    assert repository.read_versions() == {"mini": 10}
    assert resolve(repository, "mini") == "mini@10"
    assert {file.name for file in tmp_path.glob("mini@1.*")} == {"mini@1.copy.json", "mini@1.notes"}
    assert resolve(repository, "mini@10") == "mini@10"  # not taken for a part of mini@1
    repository.remove(MINI_1)  # again
    repository.remove(MINI_2)
    assert resolve(repository, "mini") == "mini@10"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"mini"', b'{"mini": "1"}', b'{"mini": 0}', b'{"mini": 1.5}', b"\xff"],
)
def test_damaged_current_versions_are_a_typed_error(
    repository: EstimatorRepository, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "versions.json").write_bytes(content)
    with pytest.raises(ModelNotServed, match=r"versions\.json cannot be used: [^:]"):
        resolve(repository, "mini")
    with pytest.raises(ModelNotServed, match=r"versions\.json cannot be used: [^:]"):
        repository.set_current(MINI_2)
    assert (tmp_path / "versions.json").read_bytes() == content
    assert resolve(repository, "mini@2") == "mini@2"


def test_current_versions_are_readable_by_others_and_leave_no_other_file(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    before = {file.name for file in tmp_path.iterdir()}
    repository.set_current(MINI_2)
    file = tmp_path / "versions.json"
    assert json.loads(file.read_text()) == {"mini": 2}
    assert file.stat().st_mode & 0o777 == 0o644
    assert {file.name for file in tmp_path.iterdir()} - before == {"versions.json"}


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "mini@1 is not exported"),
        (b"", "the manifest of mini@1 cannot be used"),
        (b"\xff\xfe", "the manifest of mini@1 cannot be used"),
        (b"[]", "the manifest of mini@1 cannot be used"),
        (b'{"name": "mini", "version": 1}', "the manifest of mini@1 cannot be used"),
        (json.dumps(make_manifest_document("mini", 2)).encode(), "is that of mini@2"),
        (json.dumps(make_manifest_document("else", 1)).encode(), "is that of else@1"),
    ],
)
def test_a_missing_damaged_or_foreign_manifest_is_a_typed_error(
    repository: EstimatorRepository, content: bytes | None, error: str
) -> None:
    file = repository.manifest_file(MINI_1)
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(ModelNotServed, match=error):
        repository.read_manifest(MINI_1)
    assert repository.read_manifest(MINI_2).id == MINI_2


def test_a_folder_in_place_of_a_manifest_is_a_typed_error(repository: EstimatorRepository) -> None:
    repository.manifest_file(MINI_1).unlink()
    repository.manifest_file(MINI_1).mkdir()
    with pytest.raises(CircumplexError, match="mini@1 cannot be used"):
        repository.read_manifest(MINI_1)


def test_an_export_during_a_process_is_seen_at_once(
    repository: EstimatorRepository, tmp_path: Path
) -> None:
    assert resolve(repository, "mini") == "mini@10"
    write_fake_estimator(tmp_path, "mini", 11)
    assert resolve(repository, "mini") == "mini@11"
    assert repository.read_manifest(MINI_10).version == 10
