"""Who trains and who is held out: six folds that share no subject, the first the official split.

A subject is a video's name, so `_left` and `_right` never part. The test set is in no fold.
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
    """Names of recordings: those of each fold, and those kept back to calibrate the spread."""

    folds: tuple[FoldSplit, ...]
    calibration: tuple[str, ...]
    left_out: tuple[str, ...]
    """Of the training and validation sets, but their subject is in the test set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSplit:
    """Names of the recordings that one fold trains on, and of those it is validated on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def plan_folds(
    recordings: Sequence[Recording], *, seed: int, calibration_share: float = 0.0
) -> CrossValidationPlan:
    """Deal the subjects to the folds; the same recordings, seed and share give the same plan.

    Fold 0 validates on the official validation set. The training set's subjects are dealt to the
    other five; each of those trains on everything that it does not validate on. The share of
    the training set's subjects that calibrates is in no fold.

    Raises: TooFewSubjects: fewer than five are left to deal.
    """
    test_subjects = {recording.subject for recording in filter_split(recordings, Split.TEST)}
    usable = [r for r in recordings if r.split is not Split.TEST and r.subject not in test_subjects]
    validating = filter_split(usable, Split.VALIDATION)
    validation_subjects = {recording.subject for recording in validating}
    subjects = sorted({recording.subject for recording in usable} - validation_subjects)
    order = np.random.default_rng((seed, len(subjects))).permutation(len(subjects))
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
    """At least one subject, but never one of the last that the folds need."""
    target_count = max(1, round(calibration_share * subjects)) if calibration_share > 0 else 0
    return max(0, min(target_count, subjects - (FOLDS - 1)))


def _balance_groups(subjects: Sequence[str], recordings: Sequence[Recording]) -> list[set[str]]:
    """Five groups of about as many annotated frames: the largest subject to the smallest group."""
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
