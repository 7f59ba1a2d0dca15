"""Export of a trained run: its networks, calibration, metrics and provenance."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from training.evaluation.calibration import read_calibration
from training.evaluation.report_provenance import read_held_out_metrics
from training.evaluation.run_metrics import summarize_cross_validation
from training.export import ModelProvenance, write_repository
from training.loop.errors import RunNotServable
from training.loop.options import Ablation
from training.runs import TrainingRun, check_has_all_folds, open_run
from training.serving import build_served_models


def export_run(folder: Path, *, repository: Path) -> dict[str, ModelProvenance]:
    """Write a run's models and their provenance, as `export_repository` does.

    Raises: RunNotFound; RunIncomplete: a part or a fold is missing; RunNotServable.
    """
    run = open_run(folder)
    if run.options.ablation in (Ablation.FACE_ONLY, Ablation.VOICE_ONLY):
        raise RunNotServable(
            f"{folder} was trained {run.options.ablation}; serving needs both modalities"
        )
    check_has_all_folds(run)
    networks = run.load_networks()
    return write_repository(
        build_served_models(networks),
        repository=repository,
        origins=_build_origins(run),
        facts=_build_metadata(run) | {"calibration": asdict(read_calibration(run))},
    )


def _build_metadata(run: TrainingRun) -> dict[str, Any]:
    return {
        "preset": run.preset.name,
        "training": "trained",
        "run": run.folder.resolve().name,
        "seed": run.options.seed,
        "ablation": run.options.ablation,
        "data": run.config["data"],
        "held_out": read_held_out_metrics(run),
        "ccc": summarize_cross_validation(run),
    }


def _build_origins(run: TrainingRun) -> dict[str, dict[str, Any]]:
    imported = run.config["initial"]["imported"]
    trained: dict[str, Any] = {"training": "trained", "seed": run.options.seed}
    return {
        "visual_backbone": trained | {"started_from": imported.get("visual")},
        "live_visual_backbone": trained | {"started_from": imported.get("visual")},
        "log_mel": {"training": "none"},
        "audio_backbone": trained | {"started_from": imported.get("audio")},
        "fusion": trained,
        "live_fusion": trained,
    }
