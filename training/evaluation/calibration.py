"""From the folds' spread to an honest one: scaled and floored so that 90 % intervals hold 90 %.

The folds agree more than they are right. On subjects that neither fold nor backbone has seen,
spread' = sqrt((scale spread)^2 + floor^2) is fitted for each target: how much of it is floor, by
the likelihood of the errors under a normal distribution; how large, by the 90th percentile.
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
from training.data.atomic_files import replace_text
from training.data.embeddings import EmbeddingStore
from training.data.layout import Recording
from training.evaluation.timelines import Timeline, TimelineEstimator
from training.loop.fold_training import zero_ablated_modality
from training.metrics import NORMAL_90_QUANTILE, interval_coverage
from training.runs import CALIBRATION_FILE, TrainingRun

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Scale and floor of (valence, arousal); by default the spread stays as it is."""

    scale: tuple[float, float] = (1.0, 1.0)
    floor: tuple[float, float] = (0.0, 0.0)
    frames: int = 0
    """Frames it was fitted on; 0: it was not."""
    subjects: int = 0

    def apply(self, spread: Float32Array) -> Float32Array:
        """(T, 2) spread of the folds to (T, 2) calibrated, as the exported fusion does it."""
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
    """The run's calibration; the default where it has none."""
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
    """Fit on the subjects that were kept back, write calibration.json; says what came of it."""
    calibration_recordings = [r for r in recordings if r.name in set(run.plan.calibration)]
    if not calibration_recordings or len(run.options.folds) < FOLDS:
        return "the spread is not calibrated: that takes all six folds and subjects kept back"
    folds = [fold.to(device) for fold in run.load_networks().fusion.folds]
    options = run.options
    estimator = TimelineEstimator(
        embeddings, options.grid, device, lambda part: zero_ablated_modality(part, options.ablation)
    )
    timelines = [estimator.estimate(folds, recording) for recording in calibration_recordings]
    return calibrate_from_timelines(run, calibration_recordings, timelines)


def calibrate_from_timelines(
    run: TrainingRun, recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> str:
    """Fit on recordings that nothing of the run has met, write calibration.json; says what came."""
    estimate, spread, truth = collect_scored_frames(recordings, timelines)
    if not len(truth):
        return "the spread is not calibrated: no frame that was kept back is annotated"
    subjects = len({recording.subject for recording in recordings})
    fitted = fit_calibration(estimate, spread, truth, subjects=subjects)
    before = interval_coverage(estimate, spread, truth).as_dict()
    _write_calibration(run.folder / CALIBRATION_FILE, fitted, before)
    return f"spread calibrated on {subjects} subjects: scale {fitted.scale}, floor {fitted.floor}"


def collect_scored_frames(
    recordings: Sequence[Recording], timelines: Sequence[Timeline]
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Estimate, spread and truth of every annotated frame that has an estimate, (N, 2) each."""
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
    """Negative log likelihood, up to constants, at the best common factor of the variance."""
    variance = np.maximum(variance, 1e-12)
    return float(np.mean(np.log(variance)) + np.log(np.mean(errors**2 / variance) + 1e-300))


def _write_calibration(file: Path, fitted: Calibration, coverage_before: dict[str, float]) -> None:
    values = asdict(fitted) | {"coverage_90_before": coverage_before}
    replace_text(file, json.dumps(values, indent=2) + "\n")
