"""Ridge regression baseline on held-out actors: information in face, voice and time."""

from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.ridge_baseline import concordance_correlation, measure_ridge_ccc

Ceilings = dict[str, tuple[float, float]]


@pytest.fixture(scope="module")
def ceilings() -> Ceilings:
    return measure_ridge_ccc(range(60), range(1_000, 1_020), seconds=30.0)


@pytest.fixture(scope="module")
def mean_ccc(ceilings: Ceilings) -> dict[str, float]:
    return {name: float(np.mean(pair)) for name, pair in ceilings.items()}


def test_face_and_voice_together_predict_better_than_either(mean_ccc: dict[str, float]) -> None:
    alone = max(mean_ccc["face, one frame"], mean_ccc["voice, one moment"])
    assert mean_ccc["both, one moment"] > alone + 0.08
    alone = max(mean_ccc["face, ±2 s"], mean_ccc["voice, ±2 s"])
    assert mean_ccc["both, ±2 s"] > alone + 0.08


def test_temporal_context_predicts_better_than_one_moment(mean_ccc: dict[str, float]) -> None:
    for seen in ("face", "both", "voice"):
        moment = "one frame" if seen == "face" else "one moment"
        assert mean_ccc[f"{seen}, ±2 s"] > mean_ccc[f"{seen}, {moment}"] + 0.04


def test_ceiling_of_both_modalities_is_high_enough(mean_ccc: dict[str, float]) -> None:
    assert mean_ccc["both, ±2 s"] > 0.90


def test_face_predicts_valence_and_voice_arousal_better(ceilings: Ceilings) -> None:
    face, voice = ceilings["face, ±2 s"], ceilings["voice, ±2 s"]
    assert face[0] > face[1] + 0.1
    assert voice[1] > voice[0] + 0.1


def test_concordance_of_a_shifted_copy_follows_lins_formula() -> None:
    truth = np.array([0.0, 1.0, 2.0, 3.0])
    # 2 * 1.25 / (1.25 + 1.25 + 0.5 ** 2)
    assert concordance_correlation(truth + 0.5, truth) == pytest.approx(2.5 / 2.75)
