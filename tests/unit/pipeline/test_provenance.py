"""Provenance of results."""

import json
from pathlib import Path

import pytest

from service.errors import ModelsMissing
from service.pipeline.provenance import read_provenance
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
