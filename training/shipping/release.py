"""Release of a run, as it is committed: weights, configuration, calibration, report, card.

The release is still a run: `export --run` and `evaluate --run` read it. The same run gives the same
bytes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final, cast

from training.evaluation.calibration import read_calibration
from training.evaluation.report_provenance import (
    REPORT_FILE,
    UNCERTAINTY_FILE,
    find_report,
    find_uncertainty_report,
    hash_weight_files,
    is_held_out,
)
from training.loop.errors import RunNotServable
from training.loop.fitting import METRICS_FILE, WEIGHTS_FILE
from training.runs import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    CURVES_FILE,
    TrainingRun,
    check_has_all_folds,
    open_run,
)
from training.shipping.card import write_card
from training.shipping.errors import (
    FolderOccupied,
    ReleaseTooLarge,
    ReportWeightsMismatch,
    RunNotCalibrated,
    RunNotEvaluated,
    RunNotSynthetic,
)

CARD_FILE: Final = "README.md"
MAX_RELEASE_BYTES: Final = 16_000_000

ReleaseContents = dict[str, bytes]
"""File contents by path in the folder."""


def ship_run(folder: Path, out: Path, *, report: Path | None = None) -> int:
    """Write the files needed to serve and evaluate a run to a folder; returns the size in bytes.

    `report` is on the test set; default: the run's own evaluation.

    Raises: RunNotFound, RunIncomplete, RunNotServable, RunNotCalibrated, RunNotEvaluated,
        ReportWeightsMismatch, RunNotSynthetic, ReleaseTooLarge, FolderOccupied.
    """
    run = open_run(folder)
    _check_target_folder(out, run)
    if run.options.ablation is not None:
        raise RunNotServable(f"{folder} was trained {run.options.ablation}; ship the full model")
    check_has_all_folds(run)
    networks = run.load_networks()
    if not read_calibration(run).frames:
        raise RunNotCalibrated(f"{folder} has no calibration subjects")
    evidence = _read_report(run, report or find_report(run))
    _check_uncertainty_report(run)
    contents = _collect_contents(run, evidence)
    contents[CARD_FILE] = write_card(run, networks, evidence, contents).encode()
    size = sum(map(len, contents.values()))
    if size > MAX_RELEASE_BYTES:
        raise ReleaseTooLarge(f"{size:,} bytes, at most {MAX_RELEASE_BYTES:,}")
    _replace_folder(out, contents)
    return size


def _check_target_folder(out: Path, run: TrainingRun) -> None:
    """Raise FolderOccupied unless the folder is new, empty or an earlier release."""
    if out.resolve() == run.folder.resolve():
        raise FolderOccupied(f"{out} is the run itself")
    shipped = all((out / name).is_file() for name in (CARD_FILE, CONFIG_FILE, REPORT_FILE))
    if out.exists() and not shipped and not (out.is_dir() and not any(out.iterdir())):
        raise FolderOccupied(f"{out} is not an earlier release")


def _read_report(run: TrainingRun, file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise RunNotEvaluated(f"{file} is missing; evaluate the run with --split test first")
    report = json.loads(file.read_text(encoding="utf-8"))
    if report.get("weights") != hash_weight_files(run):
        raise ReportWeightsMismatch(f"{file}; evaluate {run.folder} again")
    if not is_held_out(report):
        raise RunNotEvaluated(f"{file} has none; evaluate the run with --split test")
    if report["data_fingerprint"] != run.config["data"]["fingerprint"] or report["world"] is None:
        raise RunNotSynthetic(f"{file} is not of the synthetic data that the run was trained on")
    if run.config["initial"]["imported"]:
        raise RunNotSynthetic(f"{run.folder} started from imported weights")
    return report


def _check_uncertainty_report(run: TrainingRun) -> None:
    file = find_uncertainty_report(run)
    if file.is_file() and json.loads(file.read_bytes())["weights"] != hash_weight_files(run):
        raise ReportWeightsMismatch(f"{file}; measure the uncertainty of {run.folder} again")


def _collect_contents(run: TrainingRun, report: dict[str, Any]) -> ReleaseContents:
    contents = {
        CONFIG_FILE: _encode_json(run.config),
        REPORT_FILE: _encode_json(report),
        CALIBRATION_FILE: (run.folder / CALIBRATION_FILE).read_bytes(),
    }
    if find_uncertainty_report(run).is_file():
        contents[UNCERTAINTY_FILE] = find_uncertainty_report(run).read_bytes()
    if (run.folder / CURVES_FILE).is_file():
        contents[CURVES_FILE] = (run.folder / CURVES_FILE).read_bytes()
    for part in run.part_folders.values():
        for name in (METRICS_FILE, WEIGHTS_FILE):
            contents[f"{part.name}/{name}"] = (part / name).read_bytes()
    return dict(sorted(contents.items()))


def _encode_json(values: Any) -> bytes:
    return (json.dumps(_strip_absolute_paths(values), indent=2) + "\n").encode()


def _strip_absolute_paths(value: Any) -> Any:
    """Replace absolute paths by file names, since they reveal folders of the machine."""
    if isinstance(value, dict):
        values = cast("dict[str, Any]", value)
        return {name: _strip_absolute_paths(each) for name, each in values.items()}
    if isinstance(value, list):
        return [_strip_absolute_paths(each) for each in cast("list[Any]", value)]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _replace_folder(out: Path, contents: ReleaseContents) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".part-") as scratch:
        part = Path(scratch) / out.name
        for name, content in contents.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(content)
        if out.exists():
            shutil.rmtree(out)
        part.replace(out)
