"""Export of a trained run: its networks, calibration, metrics and provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from service.domain.estimator import Domain, EstimatorManifest, Figure, Licences, Modality
from training.evaluation.calibration import read_calibration
from training.evaluation.report_provenance import read_held_out_metrics
from training.evaluation.run_metrics import summarize_cross_validation
from training.export import ARCFACE_CROPS, ExportTarget, write_estimator
from training.loop.errors import RunNotServable
from training.loop.options import Ablation
from training.runs import TrainingRun, check_has_all_folds, open_run
from training.serving import build_served_models

_LICENCES: Final = {
    Domain.DRAWN: Licences(code="Apache-2.0", weights="Apache-2.0", data="Apache-2.0 (drawn)"),
    Domain.RECORDINGS: Licences(
        code="Apache-2.0",
        weights="those of the data and of the backbones that training started from",
        data="those of the recordings it was trained on",
    ),
}


def export_run(folder: Path, target: ExportTarget) -> EstimatorManifest:
    """Write a run's networks as an estimator.

    Raises: RunNotFound; RunIncomplete: a part or a fold is missing; RunNotServable.
    """
    run = open_run(folder)
    if run.options.ablation in (Ablation.FACE_ONLY, Ablation.VOICE_ONLY):
        raise RunNotServable(
            f"{folder} was trained {run.options.ablation}; serving needs both modalities"
        )
    check_has_all_folds(run)
    networks = run.load_networks()
    return write_estimator(
        build_served_models(networks, target.precision, target.samples),
        target,
        origins=_build_origins(run),
        facts=_build_metadata(run) | {"calibration": asdict(read_calibration(run))},
    )


def _build_metadata(run: TrainingRun) -> dict[str, Any]:
    held_out = read_held_out_metrics(run)
    domain = _find_domain(held_out)
    return {
        "title": f"The paper's networks at the preset {run.preset.name}, trained.",
        "domain": domain,
        "modalities": [Modality.FACE, Modality.VOICE],
        "preprocessing": ARCFACE_CROPS,
        "licences": asdict(_LICENCES[domain]),
        "figures": _build_figures(held_out, domain),
        "preset": run.preset.name,
        "training": "trained",
        "run": run.folder.resolve().name,
        "seed": run.options.seed,
        "ablation": run.options.ablation,
        "data": run.config["data"],
        "held_out": held_out,
        "ccc": summarize_cross_validation(run),
    }


def _find_domain(held_out: Mapping[str, Any] | None) -> Domain:
    """A synthetic world, of whose people the held-out figures are, is drawn."""
    return Domain.DRAWN if "world" in (held_out or {}) else Domain.RECORDINGS


def _build_figures(held_out: Mapping[str, Any] | None, domain: Domain) -> list[dict[str, Any]]:
    if held_out is None:
        return []
    on = "held-out recordings"
    if domain is Domain.DRAWN:
        on = f"{held_out['subjects']} unseen people of the synthetic world"
    figure = Figure(
        metric="ccc",
        valence=held_out["ccc"]["valence"],
        arousal=held_out["ccc"]["arousal"],
        on=on,
        rated_video=domain is Domain.RECORDINGS,
        source="python -m training evaluate",
        measured_by="project" if domain is Domain.DRAWN else "user",
    )
    return [asdict(figure)]


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
