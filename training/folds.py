"""Cross-validation plan: six folds without a shared subject, the first being the official split.

A subject is a video's name, so `_left` and `_right` are in the same fold. The test set is in none.
Source: six folds, fold 0 the official split [L]; balancing by annotated frames [I].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.model_signatures import FOLDS
from training.data.errors import TooFewSubjects
from training.data.layout import Recording, Split, filter_split


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidationPlan:
    """Names of the recordings of each fold, and of those reserved to calibrate the spread."""

    folds: tuple[FoldSplit, ...]
    calibration: tuple[str, ...]
    left_out: tuple[str, ...]
    """Recordings of the training and validation sets whose subject is in the test set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSplit:
    """Names of the recordings that one fold trains on, and of those it is validated on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def plan_folds(
    recordings: Sequence[Recording], *, seed: int, calibration_share: float = 0.0
) -> CrossValidationPlan:
    """Assign the subjects to the folds; deterministic for the same recordings, seed and share.

    Fold 0 validates on the official validation set. The training set's subjects are distributed
    over the other five folds; each fold trains on everything that it does not validate on. The
    calibration share of the training set's subjects is in no fold.

    Raises: TooFewSubjects: fewer than five are left to distribute.
    """
    test_subjects = {recording.subject for recording in filter_split(recordings, Split.TEST)}
    usable = [r for r in recordings if r.split is not Split.TEST and r.subject not in test_subjects]
    validating = filter_split(usable, Split.VALIDATION)
    validation_subjects = {recording.subject for recording in validating}
    subjects = sorted({recording.subject for recording in usable} - validation_subjects)
    order: list[int] = (
        np.random.default_rng((seed, len(subjects))).permutation(len(subjects)).tolist()
    )
    calibration_count = _count_calibration_subjects(len(subjects), calibration_share)
    calibration_subjects = {subjects[place] for place in order[:calibration_count]}
    fold_recordings = [
        recording for recording in usable if recording.subject not in calibration_subjects
    ]
    groups = _balance_groups(
        [subjects[place] for place in order[calibration_count:]], fold_recordings
    )
    held_out = [
        validating,
        *([r for r in fold_recordings if r.subject in group] for group in groups),
    ]
    return CrossValidationPlan(
        folds=tuple(_build_fold_split(group, fold_recordings) for group in held_out),
        calibration=tuple(r.name for r in usable if r.subject in calibration_subjects),
        left_out=tuple(
            r.name for r in recordings if r.split is not Split.TEST and r.subject in test_subjects
        ),
    )


def _count_calibration_subjects(subjects: int, calibration_share: float) -> int:
    """Return at least one subject for a positive share, leaving five for the folds."""
    target_count = max(1, round(calibration_share * subjects)) if calibration_share > 0 else 0
    return max(0, min(target_count, subjects - (FOLDS - 1)))


def _balance_groups(subjects: Sequence[str], recordings: Sequence[Recording]) -> list[set[str]]:
    """Form five groups of similar size: the largest subject goes to the smallest group."""
    groups = FOLDS - 1
    if len(subjects) < groups:
        raise TooFewSubjects(f"{len(subjects)} in the training set, {groups} are needed")
    frames: defaultdict[str, int] = defaultdict(int)
    for recording in recordings:
        frames[recording.subject] += int(recording.is_annotated.sum())
    balanced: list[set[str]] = [set() for _ in range(groups)]
    for subject in sorted(subjects, key=lambda name: -frames[name]):
        smallest = min(balanced, key=lambda group: (sum(frames[s] for s in group), len(group)))
        smallest.add(subject)
    return balanced


def _build_fold_split(
    validation: Sequence[Recording], recordings: Sequence[Recording]
) -> FoldSplit:
    subjects = {recording.subject for recording in validation}
    return FoldSplit(
        training=tuple(r.name for r in recordings if r.subject not in subjects),
        validation=tuple(r.name for r in validation),
    )
