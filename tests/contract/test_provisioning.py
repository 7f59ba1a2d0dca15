"""Downloads of the set-up against the service and the documents."""

from __future__ import annotations

from pathlib import Path

from deploy.provision import face_models, redis, triton
from service.faces.tflite import SHA256

DEPENDENCIES = (Path(__file__).parents[2] / "docs" / "dependencies.md").read_text()


def test_face_models_have_the_hashes_that_the_service_checks() -> None:
    assert face_models.SHA256 == SHA256


def test_documents_name_the_downloaded_versions() -> None:
    name, _, version = face_models.REQUIREMENT.partition("==")
    assert f"`{name}` {version}" in DEPENDENCIES
    assert f"`nvidia-pytriton` {triton.VERSION}" in DEPENDENCIES
    name, _, version = redis.REQUIREMENT.partition("==")
    assert f"Redis {redis.VERSION} for the tests, from `{name}` {version}" in DEPENDENCIES
