"""Cross-validation plan: disjoint subjects, official split, balance, calibration."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from training.data.errors import TooFewSubjects
from training.data.layout import Recording, Split
from training.data.subjects import parse_source_video
from training.folds import CrossValidationPlan, plan_folds


def recording(name: str, split: Split, rows: int = 100) -> Recording:
    return Recording(
        name=name,
        split=split,
        targets=np.zeros((rows, 2), np.float32),
        has_face=np.ones(rows, np.bool_),
        crops_folder=Path(name),
        video=None,
    )


RECORDINGS = (
    *(recording(f"t{i}", Split.TRAINING, 50 * (i + 1)) for i in range(14)),
    recording("pair_left", Split.TRAINING),
    recording("pair_right", Split.TRAINING),
    *(recording(f"v{i}", Split.VALIDATION) for i in range(4)),
    *(recording(f"x{i}", Split.TEST) for i in range(3)),
)


@pytest.fixture(scope="module")
def plan() -> CrossValidationPlan:
    return plan_folds(RECORDINGS, seed=3)


def groups(names: tuple[str, ...]) -> set[str]:
    """Return the groups: each is one source video here."""
    return {parse_source_video(name) for name in names}


def test_fold_0_is_the_official_split(plan: CrossValidationPlan) -> None:
    official = {
        split: tuple(r.name for r in RECORDINGS if r.split is split)
        for split in (Split.TRAINING, Split.VALIDATION)
    }
    assert official[Split.TRAINING] == plan.folds[0].training
    assert official[Split.VALIDATION] == plan.folds[0].validation


def test_no_subject_is_on_both_sides_of_a_fold(plan: CrossValidationPlan) -> None:
    for fold in plan.folds:
        assert not groups(fold.training) & groups(fold.validation)


def test_every_subject_is_held_out_once(plan: CrossValidationPlan) -> None:
    for first, second in combinations(plan.folds, 2):
        assert not groups(first.validation) & groups(second.validation)
    held_out = {name for fold in plan.folds for name in fold.validation}
    assert held_out == {r.name for r in RECORDINGS if r.split is not Split.TEST}
    assert len(plan.folds) == 6


def test_the_test_set_is_in_no_fold(plan: CrossValidationPlan) -> None:
    used = {name for fold in plan.folds for name in (*fold.training, *fold.validation)}
    assert not used & {r.name for r in RECORDINGS if r.split is Split.TEST}


def test_the_other_folds_hold_out_about_as_many_frames(plan: CrossValidationPlan) -> None:
    rows = {r.name: len(r) for r in RECORDINGS}
    sizes = [sum(rows[name] for name in fold.validation) for fold in plan.folds[1:]]
    assert max(sizes) - min(sizes) <= 200


def test_a_seed_gives_the_same_plan_and_another_seed_another(plan: CrossValidationPlan) -> None:
    shuffled = sorted(RECORDINGS, key=lambda r: (r.split is Split.TEST, r.name))
    assert plan == plan_folds(RECORDINGS, seed=3)
    assert {frozenset(fold.validation) for fold in plan.folds} == {
        frozenset(fold.validation) for fold in plan_folds(shuffled, seed=3).folds
    }
    calibrations = {
        plan_folds(RECORDINGS, seed=s, calibration_share=0.2).calibration for s in (3, 4)
    }
    assert len(calibrations) == 2


def test_calibration_subjects_are_in_no_fold() -> None:
    plan = plan_folds(RECORDINGS, seed=3, calibration_share=0.2)
    assert len(groups(plan.calibration)) == 3
    for fold in plan.folds:
        assert not groups(plan.calibration) & groups((*fold.training, *fold.validation))


def test_test_set_subjects_are_left_out_of_training() -> None:
    crossing = (*RECORDINGS, recording("x0_left", Split.TRAINING))
    plan = plan_folds(crossing, seed=0)
    assert plan.left_out == ("x0_left",)
    assert all("x0_left" not in (*f.training, *f.validation) for f in plan.folds)


def test_validation_subjects_do_not_train_the_official_fold() -> None:
    plan = plan_folds((*RECORDINGS, recording("v0_left", Split.TRAINING)), seed=0)
    assert "v0_left" not in plan.folds[0].training
    assert plan.folds[0].validation == ("v0", "v1", "v2", "v3")


def test_too_few_subjects_are_refused() -> None:
    few = [recording(f"t{i}", Split.TRAINING) for i in range(4)]
    with pytest.raises(TooFewSubjects, match="4 in the training set, 5 are needed"):
        plan_folds([*few, recording("v", Split.VALIDATION)], seed=0)
