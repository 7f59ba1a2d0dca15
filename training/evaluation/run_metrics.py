"""Metrics of a run, computed from its timelines, with a flag for held-out data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.domain.array_types import Float32Array
from service.domain.model_signatures import TARGETS
from training.data.layout import Recording
from training.evaluation.calibration import (
    collect_scored_frames,
    compute_timeline_std,
    read_calibration,
)
from training.evaluation.predictions import fill_gaps
from training.evaluation.timelines import Timeline
from training.evaluation.uncertainty_metrics import rank_correlation
from training.metrics import compute_scores, interval_coverage
from training.person_metrics import describe_people, sum_by_person
from training.runs import TrainingRun


def compute_run_metrics(
    run: TrainingRun, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> dict[str, Any]:
    """Compute all metrics over the concatenated recordings; None without annotations."""
    estimate, spread, truth = collect_scored_frames(recordings, timelines)
    frames: dict[str, Any] = {
        "frames": sum(map(len, recordings)),
        "annotated": sum(int(recording.is_annotated.sum()) for recording in recordings),
        "scored": len(truth),
    }
    if not len(truth):
        return {**frames, "folds": {}, "ensemble": None, "by_person": None}
    scored = [r.is_annotated & t.known for r, t in zip(recordings, timelines, strict=True)]
    smoothed = _concatenate_rows([timeline.smoothed for timeline in timelines], scored)
    calibration = read_calibration(run)
    std = _concatenate_rows(
        [
            compute_timeline_std(calibration, recording, timeline)
            for recording, timeline in zip(recordings, timelines, strict=True)
        ],
        scored,
    )
    annotated = [recording.is_annotated for recording in recordings]
    submitted_values = _concatenate_rows([fill_gaps(timeline) for timeline in timelines], annotated)
    annotated_targets = _concatenate_rows(
        [recording.targets for recording in recordings], annotated
    )
    return {
        **frames,
        "folds": _compute_fold_metrics(run, recordings, timelines, scored, truth),
        "ensemble": compute_ensemble_ccc(run, recordings, timelines),
        "by_person": _describe_people(recordings, timelines, scored),
        "ensemble_smoothed": compute_scores(smoothed, truth).as_dict(),
        "as_submitted": compute_scores(submitted_values, annotated_targets).as_dict(),
        "coverage_90": interval_coverage(estimate, std, truth).as_dict(),
        "coverage_90_uncalibrated": interval_coverage(estimate, spread, truth).as_dict(),
        "spearman_std_error": _rank_errors(std, estimate, truth),
        "calibration": {
            "meaning": calibration.meaning,
            "scale": calibration.scale,
            "floor": calibration.floor,
            "subjects": calibration.subjects,
        },
    }


def _describe_people(
    recordings: Sequence[Recording], timelines: Sequence[Timeline], scored: Sequence[Any]
) -> dict[str, Any]:
    """Describe the ensemble's CCC of each person; parts and views of a person belong together."""
    people = [recording.subject for recording in recordings]
    estimates = [t.mean[rows] for t, rows in zip(timelines, scored, strict=True)]
    truths = [r.targets[rows] for r, rows in zip(recordings, scored, strict=True)]
    return describe_people(sum_by_person(people, estimates, truths))


def compute_ensemble_ccc(
    run: TrainingRun, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> dict[str, Any] | None:
    """Compute the CCC of the folds' mean, as it is served; None without annotations."""
    estimate, _, truth = collect_scored_frames(recordings, timelines)
    if not len(truth):
        return None
    held_out = _is_held_out(run, recordings, run.options.folds)
    return compute_scores(estimate, truth).as_dict() | {"held_out": held_out}


def summarize_cross_validation(run: TrainingRun) -> dict[str, Any]:
    """Return each fold's best validation CCC, by which training selected its weights.

    The backbones were trained on fold 0's training set: only fold 0 was validated on subjects that
    are new to fold and backbones.
    """
    figures: dict[str, Any] = {}
    for part, history in run.read_histories().items():
        if part.startswith("fold") and history:
            best = max(history, key=lambda record: record["mean"])
            best_scores = {name: best[name] for name in ("valence", "arousal", "mean")}
            figures[part.removeprefix("fold ")] = best_scores | {
                "backbones_held_out": part == "fold 0"
            }
    return figures


def _compute_fold_metrics(
    run: TrainingRun,
    recordings: Sequence[Recording],
    timelines: Sequence[Timeline],
    scored: Sequence[Any],
    truth: Float32Array,
) -> dict[str, Any]:
    return {
        str(fold): compute_scores(
            _concatenate_rows([t.folds[place] for t in timelines], scored), truth
        ).as_dict()
        | {"held_out": _is_held_out(run, recordings, (fold,))}
        for place, fold in enumerate(run.options.folds)
    }


def _rank_errors(
    std: Float32Array, estimate: Float32Array, truth: Float32Array
) -> dict[str, float]:
    errors = np.abs(estimate - truth)
    return {
        name: rank_correlation(std[:, place], errors[:, place])
        for place, name in enumerate(TARGETS)
    }


def _is_held_out(run: TrainingRun, recordings: Sequence[Recording], folds: Sequence[int]) -> bool:
    """Return whether these folds and the backbones were trained on none of the recordings."""
    training_names = {name for fold in (0, *folds) for name in run.plan.folds[fold].training}
    return not training_names & {recording.name for recording in recordings}


def _concatenate_rows(values: Sequence[Float32Array], rows: Sequence[Any]) -> Float32Array:
    return np.concatenate([value[chosen] for value, chosen in zip(values, rows, strict=True)])
