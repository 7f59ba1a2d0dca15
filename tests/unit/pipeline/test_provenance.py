"""Provenance of results."""

import json
from pathlib import Path
from typing import Any

import pytest

from service.domain.media import Flag
from service.errors import ModelsMissing
from service.pipeline.provenance import PROVENANCE_FILE_NAME, read_provenance, read_weight_flags
from service.settings import Settings

EXPORTED = {"preset": "mini", "training": "untrained", "software": {"torch": "2.13.0"}}


def make_settings(folder: Path) -> Settings:
    return Settings(model_repository=folder, face_models_dir=folder, smoothing_seconds=0.5)


def test_provenance_names_weights_method_faces_and_software(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps(EXPORTED))
    (tmp_path / "face_landmark.tflite").write_bytes(b"abc")

    provenance = read_provenance(make_settings(tmp_path))

    assert provenance["training"] == "untrained"
    assert provenance["method"]["smoothing_seconds"] == 0.5
    # the published digest of "abc" (FIPS 180-2)
    assert provenance["face_models"]["face_landmark"].startswith("ba7816bf8f01cfea")
    assert {"torch", "av", "circumplex"} <= provenance["software"].keys()


def test_missing_models_raise_models_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelsMissing, match="CIRCUMPLEX_MODEL_REPOSITORY"):
        read_provenance(make_settings(tmp_path))


@pytest.mark.parametrize(
    ("held_out", "domain", "flags"),
    [
        ({"world": {"world": 1}}, "drawn", {Flag.DRAWN_WEIGHTS}),
        ({}, None, set()),
        (None, None, set()),
    ],
)
def test_weights_that_have_learnt_from_drawings_say_so(
    tmp_path: Path, held_out: dict[str, Any] | None, domain: str | None, flags: set[Flag]
) -> None:
    (tmp_path / PROVENANCE_FILE_NAME).write_text(json.dumps({"models": {}, "held_out": held_out}))
    settings = Settings(model_repository=tmp_path, face_models_dir=tmp_path)
    assert read_provenance(settings)["domain"] == domain
    assert read_weight_flags(settings) == flags
