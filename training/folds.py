"""Cross-validation plan: six folds without a shared subject, the first being the official split.

Recordings of one person or of one source video are one group, which no fold divides: `_left` and
`_right` are two persons whose scene and audio are the same. The test set is in no fold.
Source: six folds, fold 0 the official split [L]; balancing by annotated frames [I].
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
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
    """Recordings of the training and validation sets whose group is in the test set."""
    shared: tuple[str, ...] = ()
    """Recordings of the training set whose group is in the validation set; not in fold 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldSplit:
    """Names of the recordings that one fold trains on, and of those it is validated on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def plan_folds(
    recordings: Sequence[Recording], *, seed: int, calibration_share: float = 0.0
) -> CrossValidationPlan:
    """Assign the subjects to the folds; deterministic for the same recordings, seed and share.

    Fold 0 validates on the official validation set. The training set's groups are distributed
    over the other five folds; each fold trains on everything that it does not validate on, less
    the groups of its validation set. The calibration share of the groups is in no fold.

    Raises: TooFewSubjects: fewer than five are left to distribute.
    """
    group_of = group_recordings(recordings)
    test_groups = {group_of[recording.name] for recording in filter_split(recordings, Split.TEST)}
    known = [recording for recording in recordings if recording.split is not Split.TEST]
    usable = [recording for recording in known if group_of[recording.name] not in test_groups]
    validating = filter_split(usable, Split.VALIDATION)
    validation_groups = {group_of[recording.name] for recording in validating}
    groups = sorted({group_of[recording.name] for recording in usable} - validation_groups)
    order: list[int] = np.random.default_rng((seed, len(groups))).permutation(len(groups)).tolist()
    calibration_count = _count_calibration_groups(len(groups), calibration_share)
    calibration_groups = {groups[place] for place in order[:calibration_count]}
    in_folds = [r for r in usable if group_of[r.name] not in calibration_groups]
    balanced = _balance_groups(
        [groups[place] for place in order[calibration_count:]], in_folds, group_of
    )
    held_out = [validating, *([r for r in in_folds if group_of[r.name] in b] for b in balanced)]
    return CrossValidationPlan(
        folds=tuple(_build_fold_split(validation, in_folds, group_of) for validation in held_out),
        calibration=tuple(r.name for r in usable if group_of[r.name] in calibration_groups),
        left_out=tuple(r.name for r in known if group_of[r.name] in test_groups),
        shared=tuple(
            recording.name
            for recording in filter_split(usable, Split.TRAINING)
            if group_of[recording.name] in validation_groups
        ),
    )


def group_recordings(recordings: Sequence[Recording]) -> dict[str, str]:
    """Return the group of each recording: those linked by a subject or a source video.

    A group has the name of its first subject.
    """
    parents: dict[str, str] = {}

    def find_root(node: str) -> str:
        while parents.setdefault(node, node) != node:
            node = parents[node]
        return node

    def link(one: str, other: str) -> None:
        parents[find_root(one)] = find_root(other)

    subject_nodes = {r.name: f"subject {r.subject}" for r in recordings}
    for recording in recordings:
        link(subject_nodes[recording.name], f"video {recording.source_video}")
    first_subjects: dict[str, str] = {}
    for recording in recordings:
        root = find_root(subject_nodes[recording.name])
        first_subjects[root] = min(first_subjects.get(root, recording.subject), recording.subject)
    return {r.name: first_subjects[find_root(subject_nodes[r.name])] for r in recordings}


def _count_calibration_groups(groups: int, calibration_share: float) -> int:
    """Return at least one group for a positive share, leaving five for the folds."""
    target_count = max(1, round(calibration_share * groups)) if calibration_share > 0 else 0
    return max(0, min(target_count, groups - (FOLDS - 1)))


def _balance_groups(
    groups: Sequence[str], recordings: Sequence[Recording], group_of: Mapping[str, str]
) -> list[set[str]]:
    """Form five sets of similar size: the largest group goes to the smallest set."""
    if len(groups) < FOLDS - 1:
        raise TooFewSubjects(f"{len(groups)} in the training set, {FOLDS - 1} are needed")
    frames: defaultdict[str, int] = defaultdict(int)
    for recording in recordings:
        frames[group_of[recording.name]] += int(recording.is_annotated.sum())
    balanced: list[set[str]] = [set() for _ in range(FOLDS - 1)]
    for group in sorted(groups, key=lambda name: -frames[name]):
        smallest = min(balanced, key=lambda each: (sum(frames[g] for g in each), len(each)))
        smallest.add(group)
    return balanced


def _build_fold_split(
    validation: Sequence[Recording], recordings: Sequence[Recording], group_of: Mapping[str, str]
) -> FoldSplit:
    groups = {group_of[recording.name] for recording in validation}
    return FoldSplit(
        training=tuple(r.name for r in recordings if group_of[r.name] not in groups),
        validation=tuple(r.name for r in validation),
    )
