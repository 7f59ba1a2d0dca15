"""Who trains and who is held out: six folds that share no subject, the first the official split.

A subject is a video's name, so `_left` and `_right` never part. The test set is in no fold.
Source: six folds, fold 0 the official split [L]; balancing by annotated frames [I].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.signatures import FOLDS
from training.data.errors import TooFewSubjects
from training.data.layout import Recording, Split, of_split


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Names of recordings: those of each fold, and those kept back to calibrate the spread."""

    folds: tuple[FoldPlan, ...]
    calibration: tuple[str, ...]
    left_out: tuple[str, ...]
    """Of the training and validation sets, but their subject is in the test set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldPlan:
    """Names of the recordings that one fold trains on, and of those it is validated on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def plan_folds(
    recordings: Sequence[Recording], *, seed: int, calibration_share: float = 0.0
) -> Plan:
    """Deal the subjects to the folds; the same recordings, seed and share give the same plan.

    Fold 0 validates on the official validation set. The training set's subjects are dealt to the
    other five; each of those trains on everything that it does not validate on. The share of
    the training set's subjects that calibrates is in no fold.

    Raises: TooFewSubjects: fewer than five are left to deal.
    """
    tested = {recording.subject for recording in of_split(recordings, Split.TEST)}
    known = [r for r in recordings if r.split is not Split.TEST and r.subject not in tested]
    validating = of_split(known, Split.VALIDATION)
    official = {recording.subject for recording in validating}
    subjects = sorted({recording.subject for recording in known} - official)
    order = np.random.default_rng((seed, len(subjects))).permutation(len(subjects))
    kept_back = _share(len(subjects), calibration_share)
    calibrating = {subjects[place] for place in order[:kept_back]}
    dealt = [recording for recording in known if recording.subject not in calibrating]
    groups = _deal([subjects[place] for place in order[kept_back:]], dealt)
    held_out = [validating, *([r for r in dealt if r.subject in group] for group in groups)]
    return Plan(
        folds=tuple(_hold_out(group, dealt) for group in held_out),
        calibration=tuple(r.name for r in known if r.subject in calibrating),
        left_out=tuple(
            r.name for r in recordings if r.split is not Split.TEST and r.subject in tested
        ),
    )


def _share(subjects: int, share: float) -> int:
    """At least one subject, but never one of the last that the folds need."""
    wanted = max(1, round(share * subjects)) if share > 0 else 0
    return max(0, min(wanted, subjects - (FOLDS - 1)))


def _deal(subjects: Sequence[str], recordings: Sequence[Recording]) -> list[set[str]]:
    """Five groups of about as many annotated frames: the largest subject to the smallest group."""
    groups = FOLDS - 1
    if len(subjects) < groups:
        raise TooFewSubjects(f"{len(subjects)} in the training set, {groups} are needed")
    frames: defaultdict[str, int] = defaultdict(int)
    for recording in recordings:
        frames[recording.subject] += int(recording.annotated.sum())
    dealt: list[set[str]] = [set() for _ in range(groups)]
    for subject in sorted(subjects, key=lambda name: -frames[name]):
        smallest = min(dealt, key=lambda group: (sum(frames[s] for s in group), len(group)))
        smallest.add(subject)
    return dealt


def _hold_out(validation: Sequence[Recording], dealt: Sequence[Recording]) -> FoldPlan:
    subjects = {recording.subject for recording in validation}
    return FoldPlan(
        training=tuple(r.name for r in dealt if r.subject not in subjects),
        validation=tuple(r.name for r in validation),
    )
