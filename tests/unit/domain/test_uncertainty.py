"""Standard deviation of estimates: what makes it larger, and what is left without a fit."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox
from service.domain.uncertainty import (
    FACTORS,
    MAX_ABSENT_SECONDS,
    UNCALIBRATED,
    ConditionTracker,
    StdMeaning,
    UncertaintyModel,
)

WEIGHTS = dict.fromkeys(FACTORS, (0.2, 0.1)) | {"constant": (-2.0, -3.0)}
MODEL = UncertaintyModel(
    meaning=StdMeaning.CALIBRATED,
    weights=WEIGHTS,
    provisional=(0.5, 0.25),
    silence=(1.0,) * 128,
    silence_radius=0.5,
)
SURE = (0.0, 120.0, 1.0, 0.0)
"""A large frontal face, seen now, with a voice."""


def compute_std(
    model: UncertaintyModel = MODEL,
    *,
    conditions: tuple[float, ...] = SURE,
    spread: float = 0.05,
    is_provisional: bool = False,
) -> Float32Array:
    pair = np.zeros((1, 2), np.float32)
    row = np.array([conditions], np.float64)
    return model.compute_std(pair, pair + spread, row, is_provisional=is_provisional)[0]


def test_a_sure_estimate_has_the_constant_alone() -> None:
    np.testing.assert_allclose(compute_std(), np.exp([-2.0, -3.0]), rtol=1e-6)


@pytest.mark.parametrize(
    "conditions",
    [
        pytest.param((0.3, 120.0, 1.0, 0.0), id="face_absent"),
        pytest.param((0.0, 40.0, 1.0, 0.0), id="face_small"),
        pytest.param((0.0, 120.0, 0.9, 0.0), id="face_turned"),
        pytest.param((0.0, 120.0, 1.0, 2.0), id="no_voice"),
    ],
)
def test_each_condition_makes_an_estimate_less_certain(conditions: tuple[float, ...]) -> None:
    assert (compute_std(conditions=conditions) > compute_std()).all()


def test_absence_and_smallness_grow_to_a_bound() -> None:
    def at(seconds: float, pixels: float) -> float:
        return float(compute_std(conditions=(seconds, pixels, 1.0, 0.0))[0])

    assert at(0.1, 120) < at(1, 120) < at(10, 120)
    assert at(0, 93) < at(0, 60) < at(0, 20)
    assert at(0, 93) == at(0, 500)
    assert at(1e9, 1e-9) <= 1.0


def test_parted_folds_and_provisional_results_are_less_certain() -> None:
    assert (compute_std(spread=0.2) > compute_std()).all()
    ratio = compute_std(is_provisional=True) / compute_std()
    np.testing.assert_allclose(ratio, np.exp(MODEL.provisional), rtol=1e-5)


def test_without_a_calibration_the_std_is_the_disagreement_and_says_so() -> None:
    assert UNCALIBRATED.meaning is StdMeaning.DISAGREEMENT
    for conditions in (SURE, (9.0, 20.0, 0.5, 9.0)):
        std = compute_std(UNCALIBRATED, conditions=conditions, spread=0.07)
        np.testing.assert_allclose(std, 0.07, rtol=1e-6)


def test_calibrations_of_earlier_runs_scale_the_disagreement() -> None:
    document = {"scale": [2, 1], "floor": [0.1, 0.2], "frames": 9, "coverage_90_before": 0.3}
    model = UncertaintyModel.parse(document)
    assert (model.meaning, model.frames) == (StdMeaning.DISAGREEMENT, 9)
    expected = np.hypot([2 * 0.05, 0.05], [0.1, 0.2])
    np.testing.assert_allclose(compute_std(model), expected, rtol=1e-6)


def test_a_disagreement_grows_by_the_drift_while_the_face_is_absent() -> None:
    model = UncertaintyModel(floor=(0.4, 0.3), drift=(0.3, 0.4), drift_seconds=0.5)

    def at(seconds: float) -> Float32Array:
        return compute_std(model, conditions=(seconds, 93.0, 1.0, 0.0), spread=0.0)

    np.testing.assert_allclose(at(0.0), (0.4, 0.3), rtol=1e-6)
    assert (at(0.0) < at(0.1)).all()
    assert (at(0.1) < at(1.0)).all()
    np.testing.assert_allclose(at(30.0), (0.5, 0.5), rtol=1e-6)


def test_a_model_survives_its_json() -> None:
    assert UncertaintyModel.parse(json.loads(json.dumps(asdict(MODEL)))) == MODEL


@pytest.mark.parametrize(
    "change",
    [
        {"weights": {}},
        {"weights": {"constant": [0, 0]}},
        {"provisional": [float("nan"), 0]},
        {"meaning": "certain"},
        {"scale": "ab"},
        {"drift_seconds": 0},
    ],
)
def test_malformed_calibrations_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"weights|finite|meaning|scale|drift_seconds"):
        UncertaintyModel.parse(asdict(MODEL) | change)


def test_scores_of_another_detector_have_no_weight() -> None:
    doubtful = (0.0, 120.0, 0.7, 0.0)
    np.testing.assert_array_equal(
        compute_std(MODEL.ignore_scores(), conditions=doubtful), compute_std()
    )
    assert UNCALIBRATED.ignore_scores() == UNCALIBRATED


def test_silence_is_told_from_a_voice_by_its_features() -> None:
    voice = np.ones((2, 128), np.float32)
    voice[1, 0] += 0.6
    assert MODEL.detect_voice(voice).tolist() == [False, True]
    assert replace(MODEL, silence=()).detect_voice(voice).tolist() == [True, True]


def test_conditions_are_those_of_the_last_face_and_the_last_voice() -> None:
    tracker = ConditionTracker()
    box = FaceBox(left=0, top=0, width=30, height=40, score=0.75)
    assert tracker.observe(0.0, None, has_voice=False)[0] == MAX_ABSENT_SECONDS
    assert tracker.observe(1.0, box, has_voice=False) == (0.0, 40.0, 0.75, MAX_ABSENT_SECONDS)
    assert tracker.observe(1.5, None, has_voice=True) == (0.5, 40.0, 0.75, 0.0)
    assert tracker.observe(3.0, None, has_voice=False) == (2.0, 40.0, 0.75, 1.5)
    assert tracker.observe(99.0, None, has_voice=False)[0] == MAX_ABSENT_SECONDS
    # Times of a damaged clip may step back.
    assert tracker.observe(0.5, None, has_voice=True)[0] == 0.0
