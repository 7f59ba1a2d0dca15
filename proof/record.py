"""What is on record of the run that was exported: its ablations, and whom it has met."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.data.layout import Split, subject_of
from training.evaluation.calibration import read_calibration
from training.evaluation.evidence import EVALUATION, REPORT, report_file
from training.export import weights_sha256
from training.loop.errors import RunError
from training.loop.options import Ablation
from training.runs import Run, open_run
from training.serving import SpreadCalibration, serve


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A run's own evaluation, if it is the run of the exported weights.

    ablations: mean CCC of each, None where it was not measured. source: the report they are
    from; why_not: why there is none. taught: the subjects that the run has met.
    """

    ablations: Mapping[str, float | None] | None = None
    full: float | None = None
    source: str | None = None
    why_not: str | None = None
    taught: frozenset[str] = frozenset()


def read_record(folder: Path, provenance: Mapping[str, Any]) -> Record:
    """Look whether `folder` is the run that was exported, and what it says."""
    try:
        run = open_run(folder)
        if not _is_exported(run, provenance):
            return Record(why_not=f"{folder} is not the run that is exported")
    except RunError as error:
        return Record(why_not=str(error))
    taught = _taught(run)
    for file in (report_file(run), run.folder / EVALUATION / Split.VALIDATION / REPORT):
        if file.is_file():
            report = json.loads(file.read_text(encoding="utf-8"))
            return Record(
                ablations={name: _mean(report["ablations"].get(name)) for name in Ablation},
                full=_mean(report["ensemble"]),
                source=file.as_posix(),
                taught=taught,
            )
    return Record(why_not=f"{folder} has not been evaluated", taught=taught)


def _is_exported(run: Run, provenance: Mapping[str, Any]) -> bool:
    fitted = read_calibration(run)
    calibration = SpreadCalibration(scale=fitted.scale, floor=fitted.floor)
    models = serve(run.load_networks(), calibration)
    hashes = {name: weights_sha256(model) for name, model in models.items()}
    return all(
        hashes[name] == model["weights_sha256"] for name, model in provenance["models"].items()
    )


def _taught(run: Run) -> frozenset[str]:
    met = {name for fold in run.plan.folds for name in (*fold.training, *fold.validation)}
    return frozenset(subject_of(name) for name in met | set(run.plan.calibration))


def _mean(figures: Mapping[str, float] | None) -> float | None:
    return None if figures is None else figures["mean"]
