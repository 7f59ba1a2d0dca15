"""Calibration of the folds' spread, so that 90 % intervals contain 90 % of the truth.

The folds' spread underestimates their error. On subjects that no fold or backbone was trained on,
spread' = sqrt((scale spread)^2 + floor^2) is fitted for each target: the ratio of floor to scale by
the likelihood of the errors under a normal distribution, the size by the 90th percentile.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from service.domain.array_types import Float32Array
from service.domain.model_signatures import FOLDS
from training.data.embeddings import EmbeddingStore
from training.data.files import replace_text
from training.data.folders import DatasetOptions
from training.data.layout import Recording, Split, fingerprint_dataset, read_dataset
from training.data.subjects import parse_source_video
from training.evaluation.run_estimator import RunEstimator
from training.evaluation.timelines import Timeline, TimelineEstimator
from training.loop.errors import SubjectsNotHeldOut
from training.loop.fold_training import zero_ablated_modality
from training.loop.run_logger import RunLogger
from training.metrics import NORMAL_90_QUANTILE, interval_coverage
from training.runs import CALIBRATION_FILE, TrainingRun, check_has_all_folds, open_run

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Scale and floor of (valence, arousal); the default leaves the spread unchanged."""

    scale: tuple[float, float] = (1.0, 1.0)
    floor: tuple[float, float] = (0.0, 0.0)
    frames: int = 0
    """Frames it was fitted on; 0: not fitted."""
    subjects: int = 0

    def apply(self, spread: Float32Array) -> Float32Array:
        """Calibrate a (T, 2) spread, as the exported fusion does."""
        scaled = np.square(spread * np.array(self.scale)) + np.square(self.floor)
        return np.sqrt(scaled).astype(np.float32)


def fit_calibration(
    estimate: Float32Array, spread: Float32Array, truth: Float32Array, *, subjects: int
) -> Calibration:
    """Fit scale and floor to (N, 2) errors; N >= 1."""
    errors, spreads = np.abs(estimate - truth).astype(np.float64), spread.astype(np.float64)
    (first, low), (second, high) = (_fit_target(errors[:, t], spreads[:, t]) for t in range(2))
    return Calibration(
        scale=(first, second), floor=(low, high), frames=len(truth), subjects=subjects
    )


def read_calibration(run: TrainingRun) -> Calibration:
    """Read the run's calibration; the default if it has none."""
    file = run.folder / CALIBRATION_FILE
    if not file.is_file():
        return Calibration()
    values = json.loads(file.read_text(encoding="utf-8"))
    metadata = {name: values[name] for name in ("frames", "subjects")}
    return Calibration(scale=tuple(values["scale"]), floor=tuple(values["floor"]), **metadata)


def calibrate_run(
    run: TrainingRun,
    recordings: Sequence[Recording],
    embeddings: EmbeddingStore,
    device: torch.device,
) -> str:
    """Fit on the run's calibration subjects, write calibration.json; returns a message."""
    calibration_recordings = [r for r in recordings if r.name in set(run.plan.calibration)]
    if not calibration_recordings or len(run.options.folds) < FOLDS:
        return "the spread is not calibrated: this needs all six folds and calibration subjects"
    folds = [fold.to(device) for fold in run.load_networks().fusion.folds]
    options = run.options
    estimator = TimelineEstimator(
        embeddings, options.grid, device, lambda part: zero_ablated_modality(part, options.ablation)
    )
    timelines = [estimator.estimate(folds, recording) for recording in calibration_recordings]
    return calibrate_from_timelines(run, calibration_recordings, timelines)


def recalibrate(
    folder: Path,
    data: Path,
    *,
    device: torch.device,
    logger: RunLogger,
    dataset: DatasetOptions | None = None,
) -> str:
    """Calibrate a run on all recordings of another data set; returns a message.

    Errors differ between subjects: 20 subjects determine a 90 % interval within about 4 %,
    120 subjects within 1 to 2 %.

    Raises: DatasetError; RunError, of which SubjectsNotHeldOut: the run was trained or validated
        on one of the subjects.
    """
    dataset = dataset or DatasetOptions()
    run, recordings = open_run(folder), read_dataset(data, dataset)
    check_has_all_folds(run)
    seen_names = {name for fold in run.plan.folds for name in (*fold.training, *fold.validation)}
    seen_videos = set(map(parse_source_video, seen_names))
    shared_names = sorted(r.name for r in recordings if r.source_video in seen_videos)
    if shared_names:
        raise SubjectsNotHeldOut(
            f"{data} has {len(shared_names)} recordings of its training: {shared_names[0]}"
        )
    estimation = RunEstimator(
        split=Split.TEST,
        recordings=recordings,
        fingerprint=fingerprint_dataset(recordings),
        data=data,
        out=None,
        device=device,
        logger=logger,
        allow_missing_audio=dataset.allow_missing_audio,
    )
    return calibrate_from_timelines(run, recordings, estimation.estimate(run, run))


def calibrate_from_timelines(
    run: TrainingRun, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> str:
    """Fit on held-out recordings, write calibration.json; returns a message."""
    estimate, spread, truth = collect_scored_frames(recordings, timelines)
    if not len(truth):
        return "the spread is not calibrated: no calibration frame is annotated"
    subjects = len({recording.subject for recording in recordings})
    fitted = fit_calibration(estimate, spread, truth, subjects=subjects)
    before = interval_coverage(estimate, spread, truth).as_dict()
    _write_calibration(run.folder / CALIBRATION_FILE, fitted, before)
    return f"spread calibrated on {subjects} subjects: scale {fitted.scale}, floor {fitted.floor}"


def collect_scored_frames(
    recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Collect estimate, spread and truth of all frames that have both, (N, 2) each."""
    scored = [r.is_annotated & t.known for r, t in zip(recordings, timelines, strict=True)]
    pairs = list(zip(timelines, scored, strict=True))
    estimate = np.concatenate([timeline.mean[rows] for timeline, rows in pairs])
    spread = np.concatenate([timeline.spread[rows] for timeline, rows in pairs])
    truth = [r.targets[rows] for r, rows in zip(recordings, scored, strict=True)]
    return estimate, spread, np.concatenate(truth)


def _fit_target(errors: Doubles, spreads: Doubles) -> tuple[float, float]:
    mean_square = float(np.mean(spreads**2))
    if mean_square == 0:
        return 1.0, float(np.quantile(errors, 0.9)) / NORMAL_90_QUANTILE
    shares = [0.0, *np.geomspace(1e-3, 1e3, 121).tolist()]
    _, share = min(
        (_negative_log_likelihood(errors, spreads**2 + s * mean_square), s) for s in shares
    )
    shape = np.sqrt(spreads**2 + share * mean_square)
    largest = np.quantile(errors / np.maximum(shape, 1e-9), 0.9) / NORMAL_90_QUANTILE
    return float(largest), float(largest * np.sqrt(share * mean_square))


def _negative_log_likelihood(errors: Doubles, variance: Doubles) -> float:
    """Compute the negative log likelihood, up to constants, at the best variance scale."""
    variance = np.maximum(variance, 1e-12)
    return float(np.mean(np.log(variance)) + np.log(np.mean(errors**2 / variance) + 1e-300))


def _write_calibration(file: Path, fitted: Calibration, coverage_before: dict[str, float]) -> None:
    values = asdict(fitted) | {"coverage_90_before": coverage_before}
    replace_text(file, json.dumps(values, indent=2) + "\n")
