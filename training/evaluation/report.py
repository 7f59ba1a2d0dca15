"""Evaluation report of a run on a part of the official split: metrics, predictions, submission."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.data.errors import SplitEmpty
from training.data.files import replace_text
from training.data.folders import DatasetOptions
from training.data.layout import (
    Split,
    filter_split,
    fingerprint_dataset,
    read_dataset,
    read_sample_submission,
)
from training.data.test_list import SubmissionRow
from training.evaluation.calibration import compute_timeline_std, read_calibration
from training.evaluation.comparison import ScoredRun, compare_ablations, compare_seeds
from training.evaluation.predictions import write_predictions, write_submission
from training.evaluation.report_provenance import (
    EVALUATION_FOLDER,
    REPORT_FILE,
    describe_machine,
    hash_weight_files,
    read_dataset_spec,
    read_recorded_comparisons,
)
from training.evaluation.run_estimator import RunEstimator
from training.evaluation.run_metrics import (
    compute_ensemble_ccc,
    compute_run_metrics,
    summarize_cross_validation,
)
from training.evaluation.timelines import Timeline
from training.loop.errors import RunConfigMismatch
from training.loop.run_logger import RunLogger
from training.runs import TrainingRun, open_run


def evaluate_run(
    folder: Path,
    data: Path,
    *,
    split: Split,
    device: torch.device,
    logger: RunLogger,
    ablations: Sequence[Path] = (),
    seeds: Sequence[Path] = (),
    out: Path | None = None,
    dataset: DatasetOptions | None = None,
) -> dict[str, Any]:
    """Evaluate a run, its other seeds and its ablations; write OUT/<split>/.

    `out` is the folder of the output and of all caches; default: RUN/evaluation, with caches in
    each run's folder.

    Raises: DatasetError, RunError.
    """
    dataset = dataset or DatasetOptions()
    recordings = read_dataset(data, dataset)
    split_recordings = filter_split(recordings, split)
    if not split_recordings:
        raise SplitEmpty(f"{data} has no {split} set")
    run = open_run(folder)
    seed_runs = [_open_other_seed(other, run) for other in seeds]
    ablated_runs = [open_run(other) for other in ablations]
    estimation = RunEstimator(
        split=split,
        recordings=split_recordings,
        fingerprint=fingerprint_dataset(recordings),
        data=data,
        out=out,
        device=device,
        logger=logger,
        allow_missing_audio=dataset.allow_missing_audio,
    )
    sample = read_sample_submission(data, dataset) if split is Split.TEST else None
    timelines = estimation.estimate(run, run)
    report = _describe_evaluation(run, estimation) | compute_run_metrics(
        run, split_recordings, timelines
    )
    report |= {"cross_validation": summarize_cross_validation(run)}
    report |= _compare_runs(estimation, run, report["ensemble"], seed_runs, ablated_runs)
    report |= {"machine": describe_machine()}
    _write_outputs(
        (out or run.folder / EVALUATION_FOLDER) / split, run, estimation, timelines, report, sample
    )
    return report


def _write_outputs(
    folder: Path,
    run: TrainingRun,
    estimator: RunEstimator,
    timelines: Sequence[Timeline],
    report: dict[str, Any],
    sample: Sequence[SubmissionRow] | None,
) -> None:
    model = read_calibration(run)
    spreads = [
        compute_timeline_std(model, recording, timeline)
        for recording, timeline in zip(estimator.recordings, timelines, strict=True)
    ]
    write_predictions(
        folder / "predictions", estimator.recordings, timelines, spreads, run.options.folds
    )
    write_submission(folder / "submission.txt", estimator.recordings, timelines, sample)
    replace_text(folder / REPORT_FILE, json.dumps(report, indent=2) + "\n")


def _describe_evaluation(run: TrainingRun, estimator: RunEstimator) -> dict[str, Any]:
    """Describe the run, its weights and the data."""
    return {
        "run": run.config["preset"]["name"],
        "ablation": run.options.ablation,
        "seed": run.options.seed,
        "weights": hash_weight_files(run),
        "split": estimator.split,
        "data_fingerprint": estimator.fingerprint,
        "world": read_dataset_spec(estimator.data),
        "recordings": len(estimator.recordings),
        "subjects": len({recording.subject for recording in estimator.recordings}),
    }


def _compare_runs(
    estimator: RunEstimator,
    run: TrainingRun,
    metrics: dict[str, Any] | None,
    others: list[TrainingRun],
    ablated: list[TrainingRun],
) -> dict[str, Any]:
    """Build the entries `seeds`, `ablations` and `comparisons`; empty without annotations.

    Without other runs, those of an earlier report on the same weights and data are kept, and
    `comparisons` is "recorded".
    """
    if metrics is None:
        return {"seeds": None, "ablations": {}, "comparisons": None}
    if not others and not ablated:
        return read_recorded_comparisons(run, estimator.split, estimator.fingerprint)
    full = [
        _build_scored_run(run, metrics),
        *(_score_run(estimator, other, run) for other in others),
    ]
    seeds = compare_seeds(full)
    measured = [_score_run(estimator, other, run) for other in ablated]
    ablations = compare_ablations(measured, full, seeds)
    return {"seeds": seeds, "ablations": ablations, "comparisons": "measured"}


def _score_run(estimator: RunEstimator, run: TrainingRun, reference: TrainingRun) -> ScoredRun:
    return _build_scored_run(
        run,
        compute_ensemble_ccc(run, estimator.recordings, estimator.estimate(run, reference)) or {},
    )


def _build_scored_run(run: TrainingRun, metrics: dict[str, Any]) -> ScoredRun:
    name = run.folder.resolve().name
    return ScoredRun(
        name=run.options.ablation or name,
        run=name,
        seed=run.options.seed,
        backbones=run.config["initial"]["backbones_of"] or name,
        metrics=metrics,
    )


def _open_other_seed(folder: Path, reference: TrainingRun) -> TrainingRun:
    """Open a run of the same model with another seed.

    Raises: RunConfigMismatch: it differs in more than the seed, or not in the seed.
    """
    run = open_run(folder)
    same = (run.preset, run.options.ablation) == (reference.preset, reference.options.ablation)
    if not same or run.config["data"] != reference.config["data"]:
        raise RunConfigMismatch(
            f"{folder} has another network than {reference.folder}, or other data"
        )
    if run.options.seed == reference.options.seed:
        raise RunConfigMismatch(f"{folder} has the seed of {reference.folder}, {run.options.seed}")
    return run
