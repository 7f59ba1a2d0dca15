"""Training record of the exported run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]  # its types have no parameters

from e2e_eval.training_record import read_training_record
from service.domain.estimator import EstimatorId
from service.domain.model_signatures import FOLDS
from training.export import ExportTarget
from training.export_run import export_run
from training.folds import CrossValidationPlan, FoldSplit
from training.loop.options import TrainingOptions
from training.presets import MINI, build_networks
from training.runs import TrainingRun, start_or_resume_run

FOLD_PLAN = FoldSplit(training=("actor0000000", "actor0000001_left"), validation=("actor0000002",))
PLAN = CrossValidationPlan(
    folds=(FOLD_PLAN,) * FOLDS, calibration=("actor0000003",), left_out=("actor0000009",)
)
CCC = {"valence": 0.8, "arousal": 0.9, "mean": 0.85}


def write_run(folder: Path, seed: int) -> TrainingRun:
    """Write a completed run, with weights determined by the seed."""
    metadata: dict[str, Any] = {
        "data": {"fingerprint": ""},
        "initial": {"imported": {}, "backbones_of": None},
    }
    run = start_or_resume_run(
        folder, preset=MINI, options=TrainingOptions(seed=seed), plan=PLAN, metadata=metadata
    )
    networks = build_networks(MINI, seed)
    parts = {"visual": networks.visual, "audio": networks.audio}
    for modality, network in parts.items():
        file = folder / f"{modality}_backbone" / "weights.safetensors"
        file.parent.mkdir(parents=True)
        save_file({f"backbone.{k}": v for k, v in network.state_dict().items()}, file)
    for fold, network in enumerate(networks.fusion.folds):
        file = run.fold_folder(fold) / "weights.safetensors"
        file.parent.mkdir()
        save_file({**network.state_dict()}, file)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return write_run(tmp_path_factory.mktemp("run"), seed=3)


@pytest.fixture(scope="module")
def provenance(run: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    repository = tmp_path_factory.mktemp("repository")
    target = ExportTarget(repository=repository, estimator=EstimatorId("tiny", 1))
    return export_run(run.folder, target).document


def write_report(run: TrainingRun, split: str, ablations: dict[str, Any]) -> None:
    file = run.folder / "evaluation" / split / "report.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"ensemble": CCC, "ablations": ablations}))


def test_exported_run_is_recognised_by_its_weights(
    run: TrainingRun, provenance: Mapping[str, Any]
) -> None:
    record = read_training_record(run.folder, provenance)
    assert record.ablations is None
    assert record.missing_reason is not None
    assert record.missing_reason.endswith("has not been evaluated")
    assert record.training_subjects == {f"actor000000{actor}" for actor in range(4)}


def test_ablations_of_the_test_set_take_precedence(
    run: TrainingRun, provenance: Mapping[str, Any]
) -> None:
    write_report(run, "validation", {"no_tcn": CCC | {"mean": 0.1}})
    write_report(run, "test", {"no_tcn": CCC | {"mean": 0.7}, "face_only": None})
    record = read_training_record(run.folder, provenance)
    assert record.ablations == {
        "no_la_se": None,
        "no_tcn": 0.7,
        "no_transformer": None,
        "face_only": None,
        "voice_only": None,
    }
    assert record.full_ccc == 0.85
    assert record.source == (run.folder / "evaluation" / "test" / "report.json").as_posix()


def test_run_with_other_weights_gives_no_record(
    provenance: Mapping[str, Any], tmp_path: Path
) -> None:
    other = write_run(tmp_path / "other", seed=4)
    write_report(other, "test", {"no_tcn": CCC})
    record = read_training_record(other.folder, provenance)
    assert (record.ablations, record.training_subjects) == (None, frozenset())
    assert record.missing_reason is not None
    assert record.missing_reason.endswith("is not the run that is exported")


def test_calibration_is_part_of_the_exported_weights(
    provenance: Mapping[str, Any], tmp_path: Path
) -> None:
    same = write_run(tmp_path / "same", seed=3)
    values = {"scale": [2.0, 2.0], "floor": [0.1, 0.1], "frames": 9, "subjects": 1}
    (same.folder / "calibration.json").write_text(json.dumps(values))
    assert read_training_record(same.folder, provenance).missing_reason is not None


def test_missing_run_and_missing_weights_are_reported(
    run: TrainingRun, provenance: Mapping[str, Any], tmp_path: Path
) -> None:
    assert "has no run" in str(read_training_record(tmp_path, provenance).missing_reason)
    begun = write_run(tmp_path / "begun", seed=3)
    (begun.fold_folder(5) / "weights.safetensors").unlink()
    assert "is not complete" in str(read_training_record(begun.folder, provenance).missing_reason)


def test_a_shipped_run_has_its_report_beside_its_weights(
    provenance: Mapping[str, Any], tmp_path: Path
) -> None:
    shipped = write_run(tmp_path / "shipped", seed=3)
    write_report(shipped, "test", {})
    report = {"ensemble": CCC, "ablations": {"no_tcn": CCC | {"mean": 0.7}}}
    (shipped.folder / "report.json").write_text(json.dumps(report))
    record = read_training_record(shipped.folder, provenance)
    assert (record.ablations or {})["no_tcn"] == 0.7
    assert record.source == (shipped.folder / "report.json").as_posix()
