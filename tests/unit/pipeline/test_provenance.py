"""Provenance of results, and the calibration that estimates use."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from service.domain.uncertainty import FACTORS, UNCALIBRATED, StdMeaning, UncertaintyModel
from service.pipeline.estimation import EstimationParameters
from service.pipeline.provenance import build_provenance
from service.settings import Settings
from tests.fake_estimators import make_manifest


def make_settings(folder: Path, **values: Any) -> Settings:
    return Settings(face_models_dir=folder, **values)


def test_provenance_names_the_model_method_faces_and_software(tmp_path: Path) -> None:
    (tmp_path / "face_landmark.tflite").write_bytes(b"abc")
    manifest = make_manifest("own", 3, domain="recordings", software={"torch": "2.13.0"}, ccc=1)

    provenance = build_provenance(manifest, make_settings(tmp_path, smoothing_seconds=0.5))

    assert (provenance["name"], provenance["version"]) == ("own", 3)
    assert (provenance["domain"], provenance["training"]) == ("recordings", "untrained")
    assert provenance["ccc"] == 1
    fusion = manifest.models["fusion"]
    assert provenance["models"]["fusion"]["weights_sha256"] == fusion.weights_sha256
    assert provenance["method"]["smoothing_seconds"] == 0.5
    # the published digest of "abc" (FIPS 180-2)
    assert provenance["face_models"]["face_landmark"].startswith("ba7816bf8f01cfea")
    assert provenance["software"]["torch"] == "2.13.0"
    assert {"av", "circumplex"} <= provenance["software"].keys()


def test_calibration_is_stated_without_the_features_of_silence(tmp_path: Path) -> None:
    calibration = asdict(UncertaintyModel(silence=(0.5,) * 128, silence_radius=2.0, subjects=7))
    calibration |= {"meaning": "calibrated", "weights": dict.fromkeys(FACTORS, (0, 0.5))}
    manifest = make_manifest(calibration=calibration)

    stated = build_provenance(manifest, make_settings(tmp_path))["calibration"]

    assert (stated["meaning"], stated["subjects"]) == ("calibrated", 7)
    assert "silence" not in stated
    assert len(manifest.uncertainty.silence) == 128


def test_weights_without_a_calibration_say_so(tmp_path: Path) -> None:
    manifest, settings = make_manifest(), make_settings(tmp_path)
    assert build_provenance(manifest, settings)["calibration"] == {"meaning": "disagreement"}
    parameters = EstimationParameters.from_manifest(manifest, settings)
    assert parameters.uncertainty.meaning is StdMeaning.DISAGREEMENT


def test_scale_and_floor_without_a_meaning_are_of_a_disagreement(tmp_path: Path) -> None:
    calibration = {"scale": [2, 2], "floor": [0.2, 0.2], "frames": 9, "subjects": 1}
    manifest, settings = make_manifest(calibration=calibration), make_settings(tmp_path)
    assert EstimationParameters.from_manifest(manifest, settings).uncertainty == replace(
        UNCALIBRATED, scale=(2, 2), floor=(0.2, 0.2), frames=9, subjects=1
    )
    stated = build_provenance(manifest, settings)["calibration"]
    assert stated == calibration | {"meaning": "disagreement"}


def test_another_face_detector_leaves_scores_without_weight(tmp_path: Path) -> None:
    calibration = {"meaning": "calibrated", "weights": dict.fromkeys(FACTORS, (0.25, 0.5))}
    manifest, settings = make_manifest(calibration=calibration), make_settings(tmp_path)
    other = settings.model_copy(update={"yunet_file": tmp_path / "yunet.onnx"})
    doubts = [
        EstimationParameters.from_manifest(manifest, each).uncertainty.weights["doubt"]
        for each in (settings, other)
    ]
    assert doubts == [(0.25, 0.5), (0, 0)]


def test_windows_and_smoothing_are_those_of_the_settings_or_the_model(tmp_path: Path) -> None:
    manifest = make_manifest(smoothing_seconds=0.6)
    settings = make_settings(tmp_path, window_frames=40, hop_frames=20, chunks_in_flight=2)
    parameters = EstimationParameters.from_manifest(manifest, settings)
    assert (parameters.window_frames, parameters.hop_frames) == (40, 20)
    assert (parameters.smoothing_seconds, parameters.chunks_in_flight) == (0.6, 2)
    assert build_provenance(manifest, settings)["method"] == {
        "window_frames": 40,
        "hop_frames": 20,
        "smoothing_seconds": 0.6,
    }
    other = settings.model_copy(update={"smoothing_seconds": 0.0})
    assert EstimationParameters.from_manifest(manifest, other).smoothing_seconds == 0.0
