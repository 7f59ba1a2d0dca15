"""Provenance of a report: hashes of the evaluated weights, held-out check, machine."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from pathlib import Path
from typing import Any, Final

import torch

from training.data.layout import Split
from training.loop.fitting import WEIGHTS_FILE
from training.runs import CALIBRATION_FILE, TrainingRun
from training.synthetic.dataset_spec import SPEC_FILE

REPORT_FILE: Final = "report.json"
UNCERTAINTY_FILE: Final = "uncertainty.json"
EVALUATION_FOLDER: Final = "evaluation"


def hash_weight_files(run: TrainingRun) -> dict[str, str]:
    """Hash every file that determines a run's metrics, by its path in the run."""
    files = [
        *(part / WEIGHTS_FILE for part in run.part_folders.values()),
        run.folder / CALIBRATION_FILE,
    ]
    return {
        file.relative_to(run.folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def read_dataset_spec(data: Path) -> dict[str, Any] | None:
    """Read the specification of a synthetic data set; None for other data."""
    spec_file = data / SPEC_FILE
    return json.loads(spec_file.read_text(encoding="utf-8")) if spec_file.is_file() else None


def find_report(run: TrainingRun) -> Path:
    """Return the path of the test set's report: the shipped one, or the run's evaluation."""
    shipped = run.folder / REPORT_FILE
    return (
        shipped if shipped.is_file() else run.folder / EVALUATION_FOLDER / Split.TEST / REPORT_FILE
    )


def find_uncertainty_report(run: TrainingRun) -> Path:
    """Return the path of the measures of the uncertainty: the shipped one, or the evaluation's."""
    shipped = run.folder / UNCERTAINTY_FILE
    return shipped if shipped.is_file() else run.folder / EVALUATION_FOLDER / UNCERTAINTY_FILE


def read_recorded_comparisons(run: TrainingRun, split: Split, fingerprint: str) -> dict[str, Any]:
    """Read the entries on other runs from the run's report, if it is of this data and network.

    The calibration may differ: no CCC depends on it.
    """
    file = find_report(run)
    report: dict[str, Any] = json.loads(file.read_bytes()) if file.is_file() else {}
    described = (report.get("split"), report.get("data_fingerprint"), _without_calibration(report))
    if described != (split, fingerprint, _without_calibration({"weights": hash_weight_files(run)})):
        return {"seeds": None, "ablations": {}, "comparisons": None}
    return {
        "seeds": report["seeds"],
        "ablations": report["ablations"],
        "comparisons": "recorded" if report["seeds"] or report["ablations"] else None,
    }


def _without_calibration(report: dict[str, Any]) -> dict[str, str]:
    return {
        name: sha256
        for name, sha256 in report.get("weights", {}).items()
        if name != CALIBRATION_FILE
    }


def read_held_out_metrics(run: TrainingRun) -> dict[str, Any] | None:
    """Read the metrics on held-out subjects, None without a report on the run's weights.

    Returns: CCC and coverage of the ensemble, size of the test set, and the synthetic data set's
        specification, if any.
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
    """Return whether a report has metrics on subjects held out from folds and backbones."""
    ensemble: dict[str, Any] = report["ensemble"] or {}
    return report["split"] == Split.TEST and bool(ensemble.get("held_out"))


def describe_machine() -> dict[str, Any]:
    """Describe processor, available cores, GPU, and the versions of torch and Python."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _read_processor_name(),
        "cores": len(os.sched_getaffinity(0)),
        "gpu": gpu,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _read_processor_name() -> str:
    facts = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*: (.+)$", facts.read_text(), re.M) if facts.exists() else None
    return named[1] if named else platform.machine()
