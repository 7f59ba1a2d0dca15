"""Report of a run's uncertainty on people that it has neither learnt from nor been fitted to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from service.domain.model_signatures import TARGETS
from service.domain.uncertainty import UncertaintyModel
from training.data.layout import fingerprint_dataset, read_dataset
from training.evaluation.calibration import (
    check_held_out,
    estimate_scenarios,
    measure_silence,
    open_embeddings,
    read_calibration,
)
from training.evaluation.report_provenance import hash_weight_files, read_dataset_spec
from training.evaluation.uncertainty_metrics import (
    DETAILED_SCENARIOS,
    list_cells,
    measure_ceiling,
    measure_uncertainty,
)
from training.loop.errors import SubjectsNotHeldOut
from training.loop.run_logger import RunLogger
from training.runs import CALIBRATION_FILE, TrainingRun, check_has_all_folds, open_run


def evaluate_uncertainty(
    folder: Path,
    data: Path,
    *,
    device: torch.device,
    logger: RunLogger,
    face_models: Path,
    with_ceiling: bool = False,
) -> dict[str, Any]:
    """Measure the run's uncertainty on all recordings of a data set, by scenario.

    `disagreement` has the same figures of the folds' disagreement as it is.

    Raises: DatasetError; RunError, of which SubjectsNotHeldOut: the run was trained, validated or
        calibrated on one of the subjects.
    """
    run, recordings = open_run(folder), read_dataset(data)
    check_has_all_folds(run)
    check_held_out(run, recordings, data)
    fingerprint = fingerprint_dataset(recordings)
    _check_not_calibrated_on(run, [each.name for each in recordings], fingerprint, data)
    model = read_calibration(run)
    embeddings = open_embeddings(run, recordings, data, device, logger)
    silence = model if model.silence else measure_silence(run, recordings, embeddings)
    parts = estimate_scenarios(
        run, recordings, embeddings, silence, device=device, logger=logger, face_models=face_models
    )
    figures: dict[str, Any] = {
        "std_meaning": model.meaning,
        "weights": hash_weight_files(run),
        "calibrated_on": {"subjects": model.subjects, "frames": model.frames},
        "world": read_dataset_spec(data),
        "data_fingerprint": fingerprint,
        "scenarios": measure_uncertainty(parts, model),
        "disagreement": measure_uncertainty(parts, UncertaintyModel()),
    }
    return figures | ({"ceiling": measure_ceiling(parts)} if with_ceiling else {})


def build_uncertainty_tables(figures: Mapping[str, Any]) -> Iterator[Table]:
    """Build the table of the scenarios, that of the parts of two of them, and the ceiling."""
    summary = Table(
        "", "frames", *_pair_columns("90 % coverage"), *_pair_columns("Spearman with |error|"),
        title=f"std: {figures['std_meaning']}",
    )  # fmt: skip
    for prefix, key in (("", "scenarios"), ("disagreement, ", "disagreement")):
        for name, group in figures[key].items():
            cells = [*_format_pair(group["coverage_90"]), *_format_pair(group["spearman"])]
            summary.add_row(f"{prefix}{name}", f"{group['frames']:,}", *cells)
    yield summary
    for name in DETAILED_SCENARIOS:
        table = Table("", *_pair_columns("90 % coverage"), title=name)
        for cell, pair in list_cells(figures["scenarios"][name]).items():
            table.add_row(cell, *_format_pair(pair))
        yield table
    if "ceiling" in figures:
        table = Table("", *figures["ceiling"]["all"], title="Spearman that could be reached")
        for name, row in figures["ceiling"].items():
            table.add_row(name, *(f"{value:.3f}" for value in row.values()))
        yield table


def _check_not_calibrated_on(
    run: TrainingRun, names: Sequence[str], fingerprint: str, data: Path
) -> None:
    shared = sorted(set(run.plan.calibration) & set(names))
    file = run.folder / CALIBRATION_FILE
    document: dict[str, Any] = (
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    )
    if shared or document.get("data_fingerprint") == fingerprint:
        raise SubjectsNotHeldOut(f"{run.folder} is calibrated on people of {data}")


def _pair_columns(title: str) -> list[str]:
    return [f"{title}\n{target}" for target in TARGETS]


def _format_pair(pair: Mapping[str, float]) -> list[str]:
    return [f"{pair[target]:.3f}" for target in TARGETS]
