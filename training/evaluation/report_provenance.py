"""Which weights a report speaks of, so that no figure is told of others."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

from training.data.layout import Split
from training.loop.fitting import WEIGHTS_FILE
from training.runs import CALIBRATION_FILE, TrainingRun

REPORT_FILE: Final = "report.json"
EVALUATION_FOLDER: Final = "evaluation"


def hash_weight_files(run: TrainingRun) -> dict[str, str]:
    """SHA-256 of every file that a run's figures follow from, by its place in the run."""
    files = [
        *(part / WEIGHTS_FILE for part in run.part_folders.values()),
        run.folder / CALIBRATION_FILE,
    ]
    return {
        file.relative_to(run.folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def find_report(run: TrainingRun) -> Path:
    """The report on the test set: the shipped one, or what evaluation left in the run."""
    shipped = run.folder / REPORT_FILE
    return (
        shipped if shipped.is_file() else run.folder / EVALUATION_FOLDER / Split.TEST / REPORT_FILE
    )


def read_held_out_metrics(run: TrainingRun) -> dict[str, Any] | None:
    """What the run is worth on people whom it has not seen, where a report on its weights says so.

    Returns: CCC and coverage of the ensemble, on how much, and of which synthetic world, if any.
    """
    file = find_report(run)
    if not file.is_file():
        return None
    report = json.loads(file.read_text(encoding="utf-8"))
    if report.get("weights") != hash_weight_files(run) or not is_held_out(report):
        return None
    ccc = {name: report["ensemble"][name] for name in ("valence", "arousal", "mean")}
    copied_keys = ("coverage_90", "subjects", "scored", "data_fingerprint", "world")
    return {"ccc": ccc, **{name: report[name] for name in copied_keys}}


def is_held_out(report: dict[str, Any]) -> bool:
    """Whether a report has figures, on people whom neither folds nor backbones have seen."""
    return report["split"] == Split.TEST and bool((report["ensemble"] or {}).get("held_out"))
