"""Fit of a head: features once, cross-validation by person, the head of everybody, its report."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from service.domain.estimator import EstimatorChoice, EstimatorManifest
from service.domain.uncertainty import UncertaintyModel
from service.estimators.repository import EstimatorRepository
from training.data.files import replace_text
from training.data.folders import DatasetOptions
from training.data.layout import Recording, fingerprint_dataset, read_dataset
from training.evaluation.report_provenance import describe_machine, read_dataset_spec
from training.head_fitting.cross_fitting import (
    HeldOutEstimates,
    assign_cells,
    cross_fit,
    estimate_held_out,
    measure_moments,
)
from training.head_fitting.errors import FeaturesNotHeldOut, HeadNotFitted
from training.head_fitting.estimator_networks import EstimatorNetworks, load_networks
from training.head_fitting.face_features import FaceFeatureStore, LookOptions
from training.head_fitting.figures import compute_figures, select_official
from training.head_fitting.head_std import fit_head_std
from training.head_fitting.selection import LinearHead, Objective, fit_head
from training.loop.run_logger import RunLogger

REPORT_FILE: Final = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFitOptions:
    """Options of a fit. seed: of the assignment of people to cells."""

    objective: Objective = Objective.CCC
    look: LookOptions = field(default_factory=LookOptions)
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedHead:
    """A head fitted to everybody, its standard deviation, and the report on people held out."""

    manifest: EstimatorManifest
    """Of the estimator whose features it uses."""
    head: LinearHead
    uncertainty: UncertaintyModel
    report: dict[str, Any]


def run_fit(
    model: EstimatorChoice,
    data: Path,
    out: Path,
    *,
    repository: EstimatorRepository,
    options: HeadFitOptions,
    logger: RunLogger,
    dataset: DatasetOptions | None = None,
) -> FittedHead:
    """Fit a head to a data set and write OUT/report.json; features in OUT are used again.

    Raises: DatasetError; ServiceError, ModelUnknown: of the estimator; HeadFitError, HeadNotFitted
        after the report was written.
    """
    networks = load_networks(repository, model)
    recordings = read_dataset(data, dataset)
    fingerprint = fingerprint_dataset(recordings)
    _check_is_held_out(networks.manifest, fingerprint)
    cells = assign_cells(recordings, seed=options.seed)
    used = [each for each in recordings if each.name in cells and each.is_annotated.any()]
    store, clock = FaceFeatureStore(out, networks, options.look), _Stopwatch()
    _prepare(store, used, logger)
    clock.stop("features")
    moments = measure_moments(used, cells, store.read)
    heads = cross_fit(moments, options.objective)
    held_out = [
        estimate_held_out(
            recording,
            cells[recording.name],
            store.read(recording),
            head=heads[cells[recording.name]],
            own_smoothing_seconds=networks.manifest.smoothing_seconds,
        )
        for recording in used
        if cells[recording.name] in heads
    ]
    head = fit_head(moments, options.objective)
    uncertainty, std_figures = fit_head_std(held_out)
    clock.stop("fit")
    report = {
        "model": str(networks.manifest.id),
        "data": {
            "fingerprint": fingerprint,
            "recordings": len(used),
            "people": len({each.subject for each in used}),
            "scored": sum(len(each.truth) for each in held_out),
        },
        "world": read_dataset_spec(data),
        "options": _describe_options(options),
        "head": _describe_head(head),
        "heads_of_held_out": {str(cell): _describe_head(each) for cell, each in heads.items()},
        **_measure(networks, held_out, options, fingerprint),
        "std": std_figures,
        "seconds": clock.seconds,
        "machine": describe_machine(),
    }
    replace_text(out / REPORT_FILE, json.dumps(report, indent=2) + "\n")
    _check_follows(report)
    return FittedHead(manifest=networks.manifest, head=head, uncertainty=uncertainty, report=report)


class _Stopwatch:
    """Seconds of the parts of a fit."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}

    def stop(self, part: str) -> None:
        now = time.monotonic()
        self.seconds[part], self._began = round(now - self._began, 1), now


def _prepare(store: FaceFeatureStore, recordings: Sequence[Recording], logger: RunLogger) -> None:
    steps = logger.track_progress(
        store.prepare(recordings), total=len(recordings), title="looking at faces"
    )
    for _ in steps:
        pass


def _measure(
    networks: EstimatorNetworks,
    held_out: Sequence[HeldOutEstimates],
    options: HeadFitOptions,
    fingerprint: str,
) -> dict[str, Any]:
    """Measure the head, and the model as it is where the frames looked at tell its estimates."""
    reason = None
    if networks.fusion is None:
        reason = "it uses the voice too"
    elif _find_data(networks.manifest) == fingerprint:
        reason = "it has learnt from these people"
    elif options.look.stride > 1 and not networks.is_frame_wise():
        reason = "it combines consecutive frames, and --stride leaves some out"
    official = select_official(held_out)
    compared = reason is None
    return {
        "held_out": compute_figures(held_out, has_own_estimates=compared),
        "official_split": compute_figures(official, has_own_estimates=compared)
        if any(len(each.truth) for each in official)
        else None,
        "not_compared": reason,
    }


def _check_is_held_out(manifest: EstimatorManifest, fingerprint: str) -> None:
    """Check that the backbone has not been trained on this data. Raises: FeaturesNotHeldOut."""
    if manifest.document.get("training") == "trained" and _find_data(manifest) == fingerprint:
        raise FeaturesNotHeldOut(f"{manifest.id}")


def _find_data(manifest: EstimatorManifest) -> str | None:
    """Return the fingerprint of the data that an estimator was trained or fitted on, if any."""
    data: dict[str, Any] = manifest.document.get("data") or {}
    return data.get("fingerprint")


def _describe_options(options: HeadFitOptions) -> dict[str, Any]:
    """Describe what the head depends on, which the number of workers is not; JSON."""
    look = {name: value for name, value in asdict(options.look).items() if name != "workers"}
    return {"objective": options.objective, "seed": options.seed, "look": look}


def _describe_head(head: LinearHead) -> dict[str, Any]:
    intercept, *weights = head.coefficients.tolist()
    return {
        "smoothing_seconds": head.smoothing_seconds,
        "ridges": head.ridges,
        "gains": head.gains,
        "intercept": intercept,
        "weights": weights,
    }


def _check_follows(report: dict[str, Any]) -> None:
    """Check that the estimates of unseen people go with their annotations at all.

    Raises: HeadNotFitted.
    """
    ccc = report["held_out"]["fitted"]["ccc"]
    if not ccc["mean"] > 0:
        raise HeadNotFitted(f"CCC V {ccc['valence']:.3f}, A {ccc['arousal']:.3f}")
