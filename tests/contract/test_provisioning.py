"""What set-up unpacks is what the service expects and the documents name."""

from __future__ import annotations

from pathlib import Path

from deploy.provision import face_models, redis, triton
from service.faces.tflite import SHA256

DEPENDENCIES = (Path(__file__).parents[2] / "docs" / "dependencies.md").read_text()


def test_the_face_models_unpacked_are_the_ones_the_service_trusts() -> None:
    assert face_models._SHA256 == SHA256


def test_documents_name_the_versions_that_are_unpacked() -> None:
    name, _, version = face_models._REQUIREMENT.partition("==")
    assert f"`{name}` {version}" in DEPENDENCIES
    assert f"`nvidia-pytriton` {triton.VERSION}" in DEPENDENCIES
    name, _, version = redis._REQUIREMENT.partition("==")
    assert f"Redis {redis.VERSION} for the tests, from `{name}` {version}" in DEPENDENCIES
