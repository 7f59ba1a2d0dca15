"""A run's figures, computed from its timelines, and which of them are held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from service.domain.arrays import Floats
from training.data.layout import Recording
from training.evaluation.calibration import gather_scored, read_calibration
from training.evaluation.predictions import submitted
from training.evaluation.timelines import Timeline
from training.metrics import coverage, score
from training.runs import Run


def figures_of(
    run: Run, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> dict[str, Any]:
    """Every figure, on all recordings' frames one after the other; null without annotations."""
    estimate, spread, truth = gather_scored(recordings, timelines)
    frames: dict[str, Any] = {
        "frames": sum(map(len, recordings)),
        "annotated": sum(int(recording.annotated.sum()) for recording in recordings),
        "scored": len(truth),
    }
    if not len(truth):
        return {**frames, "folds": {}, "ensemble": None}
    scored = [r.annotated & t.known for r, t in zip(recordings, timelines, strict=True)]
    smoothed = _pick([timeline.smoothed for timeline in timelines], scored)
    calibration = read_calibration(run)
    annotated = [recording.annotated for recording in recordings]
    sent = _pick([submitted(timeline) for timeline in timelines], annotated)
    asked = _pick([recording.targets for recording in recordings], annotated)
    return {
        **frames,
        "folds": _folds(run, recordings, timelines, scored, truth),
        "ensemble": ensemble_of(run, recordings, timelines),
        "ensemble_smoothed": score(smoothed, truth).as_dict(),
        "as_submitted": score(sent, asked).as_dict(),
        "coverage_90": coverage(estimate, calibration.apply(spread), truth).as_dict(),
        "coverage_90_uncalibrated": coverage(estimate, spread, truth).as_dict(),
        "calibration": {
            "scale": calibration.scale,
            "floor": calibration.floor,
            "subjects": calibration.subjects,
        },
    }


def ensemble_of(
    run: Run, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> dict[str, Any] | None:
    """The concordance of all folds' mean, as it is served; null without annotations."""
    estimate, _, truth = gather_scored(recordings, timelines)
    if not len(truth):
        return None
    held_out = _is_held_out(run, recordings, run.options.folds)
    return score(estimate, truth).as_dict() | {"held_out": held_out}


def cross_validation(run: Run) -> dict[str, Any]:
    """Each fold's best figures on its own held-out subjects, as training chose it by.

    The backbones learnt from fold 0's training set: only fold 0 was validated on people
    new to both.
    """
    figures: dict[str, Any] = {}
    for part, history in run.histories().items():
        if part.startswith("fold") and history:
            best = max(history, key=lambda record: record["mean"])
            chosen = {name: best[name] for name in ("valence", "arousal", "mean")}
            figures[part.removeprefix("fold ")] = chosen | {"backbones_held_out": part == "fold 0"}
    return figures


def _folds(
    run: Run,
    recordings: Sequence[Recording],
    timelines: Sequence[Timeline],
    scored: Sequence[Any],
    truth: Floats,
) -> dict[str, Any]:
    return {
        str(fold): score(_pick([t.folds[place] for t in timelines], scored), truth).as_dict()
        | {"held_out": _is_held_out(run, recordings, (fold,))}
        for place, fold in enumerate(run.options.folds)
    }


def _is_held_out(run: Run, recordings: Sequence[Recording], folds: Sequence[int]) -> bool:
    """Whether neither these folds nor the backbones learnt from any of the recordings."""
    taught = {name for fold in (0, *folds) for name in run.plan.folds[fold].training}
    return not taught & {recording.name for recording in recordings}


def _pick(values: Sequence[Floats], rows: Sequence[Any]) -> Floats:
    return np.concatenate([value[chosen] for value, chosen in zip(values, rows, strict=True)])
