"""Heads for people they have not met: every cell of people is estimated by a head of the others.

The cells are the validation sets of the six folds of a training, the first being the official one.
Smoothing, penalty and gain are chosen anew among the other cells each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from service.domain.array_types import BoolArray, Float64Array
from service.domain.model_signatures import FOLDS
from training.data.errors import NoAnnotatedFrames
from training.data.layout import Recording
from training.folds import plan_folds
from training.head_fitting.face_features import FaceFeatures
from training.head_fitting.ridge import FrameMoments
from training.head_fitting.selection import LinearHead, MomentsBySigma, Objective, fit_head
from training.head_fitting.time_smoothing import SIGMAS_SECONDS, smooth_columns

_MIN_CELLS = 3
"""One to be left out, and two among which a head's settings are chosen."""

FeatureReader = Callable[[Recording], FaceFeatures]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutEstimates:
    """Estimates of a recording's N scored frames by a head that has not met it, (N, 2) each.

    fitted: not smoothed; smoothed: as served. before: the estimator's own with its own smoothing;
    before_smoothed: with the head's. absent_seconds: (N,) since the last face.
    """

    recording: Recording
    cell: int
    truth: Float64Array
    fitted: Float64Array
    smoothed: Float64Array
    before: Float64Array
    before_smoothed: Float64Array
    absent_seconds: Float64Array


def assign_cells(recordings: Sequence[Recording], *, seed: int) -> dict[str, int]:
    """Assign every recording that may be learnt from to its cell, by name.

    A training recording of a person of the official validation set is in its cell; those of people
    of the test set are left out.

    Raises: TooFewSubjects.
    """
    plan = plan_folds(recordings, seed=seed)
    cells = {name: cell for cell, fold in enumerate(plan.folds) for name in fold.validation}
    return cells | dict.fromkeys(plan.shared, 0)


def find_scored(recording: Recording, features: FaceFeatures) -> BoolArray:
    """Find the frames that count, (N,): annotated, and not before the first face."""
    return features.known & recording.is_annotated[features.rows]


def measure_moments(
    recordings: Iterable[Recording], cells: Mapping[str, int], read: FeatureReader
) -> MomentsBySigma:
    """Measure every cell's moments for every smoothing.

    Raises: NoAnnotatedFrames: fewer than three cells have a scored frame.
    """
    totals: dict[float, dict[int, FrameMoments]] = {sigma: {} for sigma in SIGMAS_SECONDS}
    for recording in recordings:
        features = read(recording)
        scored = find_scored(recording, features)
        truth = recording.targets[features.rows[scored]].astype(np.float64)
        cell = cells[recording.name]
        for sigma, by_cell in totals.items() if scored.any() else ():
            smoothed = smooth_columns(features.times, features.features, features.known, sigma)
            moments = FrameMoments.measure(smoothed[scored], truth)
            before = [by_cell[cell]] if cell in by_cell else []
            by_cell[cell] = FrameMoments.total([*before, moments])
    filled = sorted(totals[0.0])
    if len(filled) < _MIN_CELLS:
        raise NoAnnotatedFrames(
            f"{len(filled)} of {FOLDS} sets of people have annotated frames with a face, "
            f"{_MIN_CELLS} are needed"
        )
    return totals


def cross_fit(moments: MomentsBySigma, objective: Objective) -> dict[int, LinearHead]:
    """Fit a head for every cell, on the others."""
    return {
        left_out: fit_head(
            {
                sigma: {cell: part for cell, part in parts.items() if cell != left_out}
                for sigma, parts in moments.items()
            },
            objective,
        )
        for left_out in moments[0.0]
    }


def estimate_held_out(
    recording: Recording,
    cell: int,
    features: FaceFeatures,
    *,
    head: LinearHead,
    own_smoothing_seconds: float,
) -> HeldOutEstimates:
    """Estimate a recording by the head of its cell, and as the estimator itself does."""
    scored = find_scored(recording, features)

    def smooth(values: Float64Array, sigma: float) -> Float64Array:
        return smooth_columns(features.times, values, features.known, sigma)[scored]

    fitted = head.estimate(features.features)
    return HeldOutEstimates(
        recording=recording,
        cell=cell,
        truth=recording.targets[features.rows[scored]].astype(np.float64),
        fitted=fitted[scored],
        smoothed=smooth(fitted, head.smoothing_seconds),
        before=smooth(features.estimates, own_smoothing_seconds),
        before_smoothed=smooth(features.estimates, head.smoothing_seconds),
        absent_seconds=features.absent_seconds[scored],
    )
