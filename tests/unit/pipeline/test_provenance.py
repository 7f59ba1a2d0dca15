"""Provenance of results."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from service.domain.media import Flag
from service.domain.uncertainty import FACTORS, UNCALIBRATED, StdMeaning, UncertaintyModel
from service.errors import ModelsMissing
from service.pipeline.provenance import (
    PROVENANCE_FILE_NAME,
    read_provenance,
    read_uncertainty,
    read_weight_flags,
)
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


def test_calibration_is_stated_without_the_features_of_silence(tmp_path: Path) -> None:
    calibration = asdict(UncertaintyModel(silence=(0.5,) * 128, silence_radius=2.0, subjects=7))
    calibration |= {"meaning": "calibrated", "weights": dict.fromkeys(FACTORS, (0, 0.5))}
    (tmp_path / "provenance.json").write_text(json.dumps(EXPORTED | {"calibration": calibration}))

    stated = read_provenance(make_settings(tmp_path))["calibration"]

    assert (stated["meaning"], stated["subjects"]) == ("calibrated", 7)
    assert "silence" not in stated
    assert len(read_uncertainty(make_settings(tmp_path)).silence) == 128


def test_weights_without_a_calibration_say_so(tmp_path: Path) -> None:
    (tmp_path / "provenance.json").write_text(json.dumps(EXPORTED))
    settings = make_settings(tmp_path)
    assert read_provenance(settings)["calibration"] == {"meaning": "disagreement"}
    assert read_uncertainty(settings).meaning is StdMeaning.DISAGREEMENT


def test_spread_of_an_earlier_export_is_not_calibrated_twice(tmp_path: Path) -> None:
    calibration = {"scale": [2, 2], "floor": [0.2, 0.2], "frames": 9, "subjects": 1}
    (tmp_path / "provenance.json").write_text(json.dumps(EXPORTED | {"calibration": calibration}))
    settings = make_settings(tmp_path)
    assert read_uncertainty(settings) == UNCALIBRATED
    assert read_provenance(settings)["calibration"] == calibration | {"meaning": "disagreement"}


def test_another_face_detector_leaves_scores_without_weight(tmp_path: Path) -> None:
    calibration = {"meaning": "calibrated", "weights": dict.fromkeys(FACTORS, (0.25, 0.5))}
    (tmp_path / "provenance.json").write_text(json.dumps(EXPORTED | {"calibration": calibration}))
    settings = make_settings(tmp_path)
    assert read_uncertainty(settings).weights["doubt"] == (0.25, 0.5)
    other = settings.model_copy(update={"yunet_file": tmp_path / "yunet.onnx"})
    assert read_uncertainty(other).weights["doubt"] == (0, 0)


def test_malformed_calibration_is_refused(tmp_path: Path) -> None:
    document = EXPORTED | {"calibration": {"meaning": "calibrated"}}
    (tmp_path / "provenance.json").write_text(json.dumps(document))
    with pytest.raises(ModelsMissing, match="weights of constant"):
        read_uncertainty(make_settings(tmp_path))


def test_missing_models_raise_models_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelsMissing, match="CIRCUMPLEX_MODEL_REPOSITORY"):
        read_provenance(make_settings(tmp_path))


DOMAINS: list[tuple[dict[str, Any] | None, str | None, frozenset[Flag]]] = [
    ({"world": {"world": 1}}, "drawn", frozenset({Flag.DRAWN_WEIGHTS})),
    ({}, None, frozenset()),
    (None, None, frozenset()),
]


@pytest.mark.parametrize(("held_out", "domain", "flags"), DOMAINS)
def test_weights_that_have_learnt_from_drawings_say_so(
    tmp_path: Path, held_out: dict[str, Any] | None, domain: str | None, flags: frozenset[Flag]
) -> None:
    (tmp_path / PROVENANCE_FILE_NAME).write_text(json.dumps({"models": {}, "held_out": held_out}))
    settings = Settings(model_repository=tmp_path, face_models_dir=tmp_path)
    assert read_provenance(settings)["domain"] == domain
    assert read_weight_flags(settings) == flags
