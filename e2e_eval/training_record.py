"""Training record of the exported run: its ablations and its training subjects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.domain.uncertainty import UncertaintyModel
from training.data.layout import Split
from training.data.subjects import parse_source_video
from training.evaluation.calibration import read_calibration
from training.evaluation.report_provenance import EVALUATION_FOLDER, REPORT_FILE, find_report
from training.export import hash_weights
from training.loop.errors import RunError
from training.loop.options import Ablation
from training.runs import TrainingRun, open_run
from training.serving import build_served_models


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecord:
    """Record of a training run, if it is the run of the exported weights.

    ablations: mean CCC of each, None where it was not measured. source: file of their report.
    missing_reason: why there is none. training_subjects: subjects that the run was trained on.
    """

    ablations: Mapping[str, float | None] | None = None
    full_ccc: float | None = None
    source: str | None = None
    missing_reason: str | None = None
    training_subjects: frozenset[str] = frozenset()


def read_training_record(folder: Path, provenance: Mapping[str, Any]) -> TrainingRecord:
    """Read the record of the run in `folder`, if that is the exported run."""
    try:
        run = open_run(folder)
        if not _is_exported(run, provenance):
            return TrainingRecord(missing_reason=f"{folder} is not the run that is exported")
    except RunError as error:
        return TrainingRecord(missing_reason=str(error))
    training_subjects = _find_training_subjects(run)
    for file in (find_report(run), run.folder / EVALUATION_FOLDER / Split.VALIDATION / REPORT_FILE):
        if file.is_file():
            report = json.loads(file.read_text(encoding="utf-8"))
            return TrainingRecord(
                ablations={name: _mean_ccc(report["ablations"].get(name)) for name in Ablation},
                full_ccc=_mean_ccc(report["ensemble"]),
                source=file.as_posix(),
                training_subjects=training_subjects,
            )
    return TrainingRecord(
        missing_reason=f"{folder} has not been evaluated", training_subjects=training_subjects
    )


def _is_exported(run: TrainingRun, provenance: Mapping[str, Any]) -> bool:
    exported = UncertaintyModel.parse(provenance.get("calibration", {}))
    # The provenance of results leaves the voice features of silence out.
    if replace(read_calibration(run), silence=()) != replace(exported, silence=()):
        return False
    models = build_served_models(run.load_networks())
    hashes = {name: hash_weights(model) for name, model in models.items()}
    return all(
        hashes[name] == model["weights_sha256"] for name, model in provenance["models"].items()
    )


def _find_training_subjects(run: TrainingRun) -> frozenset[str]:
    recording_names = {
        name for fold in run.plan.folds for name in (*fold.training, *fold.validation)
    }
    return frozenset(
        parse_source_video(name) for name in recording_names | set(run.plan.calibration)
    )


def _mean_ccc(figures: Mapping[str, float] | None) -> float | None:
    return None if figures is None else figures["mean"]
