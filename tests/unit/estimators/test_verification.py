"""Verification of exported files against their manifest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from service.domain.estimator import EstimatorManifest
from service.errors import ModelChanged
from service.estimators.repository import EstimatorRepository
from service.estimators.verification import FileVerifier
from tests.fake_estimators import write_fake_estimator


@pytest.fixture
def manifest(tmp_path: Path) -> EstimatorManifest:
    return write_fake_estimator(tmp_path)


@pytest.fixture
def verifier(tmp_path: Path) -> FileVerifier:
    return FileVerifier(EstimatorRepository(tmp_path))


def find_file(folder: Path, manifest: EstimatorManifest, slot: str) -> Path:
    return EstimatorRepository(folder).model_file(manifest.id, slot)


@pytest.mark.parametrize("slot", ["visual_backbone", "live_fusion"])
def test_a_changed_file_is_found_and_its_restoration_too(
    tmp_path: Path, manifest: EstimatorManifest, verifier: FileVerifier, slot: str
) -> None:
    verifier.verify(manifest)
    file = find_file(tmp_path, manifest, slot)
    content = file.read_bytes()
    file.write_bytes(content + b"!")
    with pytest.raises(ModelChanged, match=rf"mini@1\.{slot}/1/model\.pt is not the file"):
        verifier.verify(manifest)
    file.write_bytes(content)
    verifier.verify(manifest)


def test_a_file_of_the_same_size_and_date_put_in_its_place_is_found(
    tmp_path: Path, manifest: EstimatorManifest, verifier: FileVerifier
) -> None:
    verifier.verify(manifest)
    file = find_file(tmp_path, manifest, "fusion")
    state = file.stat()
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes()[::-1])
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    with pytest.raises(ModelChanged, match="fusion"):
        verifier.verify(manifest)


def test_a_missing_file_is_a_change(
    tmp_path: Path, manifest: EstimatorManifest, verifier: FileVerifier
) -> None:
    find_file(tmp_path, manifest, "fusion").unlink()
    with pytest.raises(ModelChanged, match="fusion"):
        verifier.verify(manifest)


def test_what_is_no_readable_file_is_a_change(
    tmp_path: Path, manifest: EstimatorManifest, verifier: FileVerifier
) -> None:
    """As a file that is gone between two system calls: found by `stat`, not to be opened."""
    file = find_file(tmp_path, manifest, "fusion")
    file.unlink()
    file.mkdir()
    with pytest.raises(ModelChanged, match="fusion"):
        verifier.verify(manifest)


def test_files_of_another_version_are_no_concern(
    tmp_path: Path, manifest: EstimatorManifest, verifier: FileVerifier
) -> None:
    other = write_fake_estimator(tmp_path, "mini", 2)
    find_file(tmp_path, other, "fusion").write_bytes(b"changed")
    verifier.verify(manifest)
    with pytest.raises(ModelChanged, match="mini@2"):
        verifier.verify(other)
