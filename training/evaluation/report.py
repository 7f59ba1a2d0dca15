"""What a run is worth on a part of the official split: figures, predictions, submission."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.domain.arrays import Floats
from training.data.errors import SplitEmpty
from training.data.files import replace_text
from training.data.layout import Recording, Split, fingerprint, of_split, read_dataset
from training.evaluation.calibration import gather_scored, read_calibration
from training.evaluation.embedding import embed_recordings, open_tracks
from training.evaluation.predictions import submitted, write_predictions, write_submission
from training.evaluation.timelines import Estimator, Timeline
from training.loop.heads import mute
from training.loop.journal import Journal
from training.metrics import coverage, score
from training.runs import Run, open_run

REPORT = "report.json"


def evaluate(
    folder: Path,
    data: Path,
    *,
    split: Split,
    device: torch.device,
    journal: Journal,
    ablations: Sequence[Path] = (),
) -> dict[str, Any]:
    """Evaluate a run, and runs that were ablated beside it; write RUN/evaluation/<split>/.

    Raises: DatasetError, RunError.
    """
    recordings = read_dataset(data)
    chosen = of_split(recordings, split)
    if not chosen:
        raise SplitEmpty(f"{data} has no {split} set")
    run = open_run(folder)
    timelines = _estimate(run, chosen, device, journal)
    report = {
        "run": run.config["preset"]["name"],
        "ablation": run.options.ablation,
        "split": split,
        "data_fingerprint": fingerprint(recordings),
        "recordings": len(chosen),
        "subjects": len({recording.subject for recording in chosen}),
        **_figures(run, chosen, timelines),
        "cross_validation": cross_validation(run),
        "ablations": {
            name: _ensemble(open_run(other), chosen, device, journal)
            for name, other in ((_name(other), other) for other in ablations)
        },
    }
    out = run.folder / "evaluation" / split
    spreads = [read_calibration(run).apply(timeline.spread) for timeline in timelines]
    write_predictions(out / "predictions", chosen, timelines, spreads, run.options.folds)
    write_submission(out / "submission.txt", chosen, timelines)
    replace_text(out / REPORT, json.dumps(report, indent=2) + "\n")
    return report


def _estimate(
    run: Run, recordings: Sequence[Recording], device: torch.device, journal: Journal
) -> list[Timeline]:
    embeddings = embed_recordings(run, recordings, open_tracks(run), device, journal)
    networks = run.load_networks()
    folds = [networks.fusion.folds[fold].to(device) for fold in run.options.folds]
    options = run.options
    estimator = Estimator(
        embeddings, options.grid, device, lambda part: mute(part, options.ablation)
    )
    steps = journal.follow(recordings, total=len(recordings), title="estimating every frame")
    return [estimator.estimate(folds, recording) for recording in steps]


def _figures(
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
        "ensemble": score(estimate, truth).as_dict()
        | {"held_out": _is_held_out(run, recordings, run.options.folds)},
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


def _ensemble(
    run: Run, recordings: Sequence[Recording], device: torch.device, journal: Journal
) -> dict[str, float] | None:
    timelines = _estimate(run, recordings, device, journal)
    estimate, _, truth = gather_scored(recordings, timelines)
    return score(estimate, truth).as_dict() if len(truth) else None


def _name(folder: Path) -> str:
    return open_run(folder).options.ablation or folder.name


def _pick(values: Sequence[Floats], rows: Sequence[Any]) -> Floats:
    return np.concatenate([value[chosen] for value, chosen in zip(values, rows, strict=True)])
