"""Shipping of a run: contents, model card, refusals, and export of shipped weights."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_dataset import QUICK_OPTIONS, TINY_PRESET, write_dataset
from typer.testing import CliRunner

from training.cli import app
from training.data.layout import Split
from training.evaluation.report import evaluate_run
from training.loop.distributed import Ranks
from training.loop.errors import RunConfigMismatch, RunError, RunIncomplete, RunNotServable
from training.loop.run_logger import RunLogger
from training.loop.train_run import train_run
from training.runs import TrainingRun
from training.shipping import release
from training.shipping.errors import (
    FolderOccupied,
    ReleaseTooLarge,
    ReportWeightsMismatch,
    RunNotCalibrated,
    RunNotEvaluated,
    RunNotSynthetic,
)
from training.shipping.release import ship_run
from training.synthetic.dataset_spec import DatasetSpec

CPU = torch.device("cpu")
OPTIONS = replace(
    QUICK_OPTIONS,
    backbone=replace(QUICK_OPTIONS.backbone, epochs=1),
    fold=replace(QUICK_OPTIONS.fold, epochs=1),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_tiny_run(data: Path, folder: Path, seed: int) -> TrainingRun:
    options, ranks = replace(OPTIONS, seed=seed), Ranks(rank=0, size=1, device=CPU)
    return train_run(
        data, folder, preset=TINY_PRESET, options=options, ranks=ranks, logger=RunLogger(None)
    )


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_dataset(tmp_path_factory.mktemp("world"))
    DatasetSpec(seed=3, seconds=2.0, rates=("25",), clips=False, as_served=False).write(root)
    return root


@pytest.fixture(scope="module")
def other_seed(dataset_root: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return train_tiny_run(dataset_root, tmp_path_factory.mktemp("runs") / "second", seed=1)


@pytest.fixture(scope="module")
def run(
    dataset_root: Path, other_seed: TrainingRun, tmp_path_factory: pytest.TempPathFactory
) -> TrainingRun:
    """A trained run, evaluated with another seed."""
    run = train_tiny_run(dataset_root, tmp_path_factory.mktemp("runs") / "first", seed=0)
    evaluate_run(
        run.folder,
        dataset_root,
        split=Split.TEST,
        device=CPU,
        logger=RunLogger(None),
        seeds=[other_seed.folder],
    )
    return run


@pytest.fixture(scope="module")
def shipped(run: TrainingRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "mini"
    ship_run(run.folder, folder)
    return folder


@pytest.fixture
def run_copy(run: TrainingRun, tmp_path: Path) -> Path:
    """A copy of the run, to be damaged."""
    return shutil.copytree(run.folder, tmp_path / "copy")


def read_files(folder: Path) -> dict[str, bytes]:
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def update_json(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_release_has_no_checkpoints_and_caches(run: TrainingRun, shipped: Path) -> None:
    parts = [path.name for path in run.part_folders.values()]
    part_files = {
        f"{part}/{name}" for part in parts for name in ("metrics.jsonl", "weights.safetensors")
    }
    run_files = {"README.md", "config.json", "report.json", "calibration.json", "curves.png"}
    assert set(read_files(shipped)) == run_files | part_files


def test_shipping_again_replaces_the_release_by_the_same_bytes(
    run: TrainingRun, shipped: Path
) -> None:
    before = read_files(shipped)
    ship_run(run.folder, shipped)
    assert read_files(shipped) == before


def test_a_release_evaluates_to_its_own_report_without_changing(
    shipped: Path, dataset_root: Path, tmp_path: Path
) -> None:
    before = read_files(shipped)
    arguments = ["--run", str(shipped), "--data", str(dataset_root), "--split", "test"]
    result = CliRunner().invoke(app, ["evaluate", *arguments, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "test" / "report.json").read_text())
    released = json.loads((shipped / "report.json").read_text())
    assert report["ensemble"] == released["ensemble"]
    assert report["by_person"] == released["by_person"]
    assert (report["seeds"], report["comparisons"]) == (released["seeds"], "recorded")
    assert read_files(shipped) == before


def test_cached_embeddings_are_not_reused_for_other_data(
    run: TrainingRun, dataset_root: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(dataset_root, tmp_path / "other")
    for crop in (other / "cropped_aligned" / "test0").glob("*.jpg"):
        shutil.copy(other / "cropped_aligned" / "test1" / "00001.jpg", crop)
    (other / "VA_Estimation_Challenge" / "Test_Set" / "test1.txt").unlink()
    reports = [
        evaluate_run(
            run.folder, data, split=Split.TEST, device=CPU, logger=RunLogger(None), out=out
        )
        for data, out in ((dataset_root, tmp_path / "out"), (other, tmp_path / "out"))
    ]
    fresh = evaluate_run(
        run.folder,
        other,
        split=Split.TEST,
        device=CPU,
        logger=RunLogger(None),
        out=tmp_path / "fresh",
    )
    assert reports[1]["ensemble"] == fresh["ensemble"] != reports[0]["ensemble"]


def test_model_card_has_the_report_scores_and_file_hashes(shipped: Path) -> None:
    card = (shipped / "README.md").read_text()
    report = json.loads(read_files(shipped)["report.json"])
    cells = (f"{report['ensemble'][name]:.3f}" for name in ("valence", "arousal", "mean"))
    assert f"| ensemble, as served | {' | '.join(cells)} |" in card
    spread = report["seeds"]["spread"]["range"]
    assert f"| their range | {spread['valence']:.3f} | {spread['arousal']:.3f} |" in card
    assert "seed 3, 2 s per actor" in card
    people = report["by_person"]
    assert people["people"] == report["subjects"]
    for title, name in (("mean", "mean"), ("standard deviation over actors", "deviation")):
        cells = (f"{people[name][target]:.3f}" for target in ("valence", "arousal", "mean"))
        assert f"| {title} | {' | '.join(cells)} |" in card
    low, high = people["interval_95"]["valence"]
    assert f"| all together, 95 % interval | {low:.3f} to {high:.3f} |" in card
    hashes = dict(re.findall(r"^\| `(\w{64})` \| (\S+) \|$", card, re.MULTILINE))
    expected = {
        hashlib.sha256(content).hexdigest(): name
        for name, content in read_files(shipped).items()
        if name != "README.md"
    }
    assert hashes == expected


def test_comparisons_with_other_data_are_not_kept(
    shipped: Path, dataset_root: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(dataset_root, tmp_path / "other")
    annotations = other / "VA_Estimation_Challenge" / "Test_Set" / "test0.txt"
    annotations.write_text(annotations.read_text().replace("0.", "0.0"))
    report = evaluate_run(
        shipped, other, split=Split.TEST, device=CPU, logger=RunLogger(None), out=tmp_path / "out"
    )
    assert (report["seeds"], report["comparisons"]) == (None, None)


def test_local_paths_are_not_released(run_copy: Path, tmp_path: Path) -> None:
    machine = {"folder": str(tmp_path), "processor": "x", "cores": 1, "gpu": None}
    update_json(run_copy / "config.json", machine=machine | {"torch": "2", "python": "3"})
    ship_run(run_copy, tmp_path / "shipped")
    assert json.loads((tmp_path / "shipped" / "config.json").read_text())["machine"]["folder"] == (
        tmp_path.name
    )
    for name, content in read_files(tmp_path / "shipped").items():
        assert str(tmp_path.parent).encode() not in content, name


def test_report_lists_seeds_and_their_spread(run: TrainingRun, other_seed: TrainingRun) -> None:
    report = json.loads((run.folder / "evaluation" / "test" / "report.json").read_text())
    seeds = report["seeds"]
    assert [one["seed"] for one in seeds["runs"]] == [0, 1]
    assert seeds["runs"][0]["mean"] == report["ensemble"]["mean"]
    assert seeds["runs"][1]["run"] == other_seed.folder.name
    means = [one["mean"] for one in seeds["runs"]]
    assert seeds["spread"]["range"]["mean"] == pytest.approx(max(means) - min(means))


def test_a_run_with_the_same_seed_is_refused_as_another_seed(
    run: TrainingRun, dataset_root: Path, run_copy: Path
) -> None:
    with pytest.raises(RunConfigMismatch, match="seed"):
        evaluate_run(
            run.folder,
            dataset_root,
            split=Split.TEST,
            device=CPU,
            logger=RunLogger(None),
            seeds=[run_copy],
        )


def without_calibration(copy: Path) -> None:
    (copy / "calibration.json").unlink()


def without_report(copy: Path) -> None:
    shutil.rmtree(copy / "evaluation")


def with_a_report_that_is_not_held_out(copy: Path) -> None:
    file = copy / "evaluation" / "test" / "report.json"
    ensemble = json.loads(file.read_text())["ensemble"]
    update_json(file, ensemble=ensemble | {"held_out": False})


def with_other_weights(copy: Path) -> None:
    shutil.copy(copy / "fold_1" / "weights.safetensors", copy / "fold_0" / "weights.safetensors")


def with_a_report_on_other_data(copy: Path) -> None:
    update_json(copy / "evaluation" / "test" / "report.json", data_fingerprint="0")


def with_a_report_on_real_data(copy: Path) -> None:
    update_json(copy / "evaluation" / "test" / "report.json", world=None)


def without_a_fold(copy: Path) -> None:
    (copy / "fold_3" / "weights.safetensors").unlink()


def as_an_ablation(copy: Path) -> None:
    file = copy / "config.json"
    update_json(file, options=json.loads(file.read_text())["options"] | {"ablation": "no_tcn"})


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (without_calibration, RunNotCalibrated),
        (without_report, RunNotEvaluated),
        (with_a_report_that_is_not_held_out, RunNotEvaluated),
        (with_other_weights, ReportWeightsMismatch),
        (with_a_report_on_other_data, RunNotSynthetic),
        (with_a_report_on_real_data, RunNotSynthetic),
        (without_a_fold, RunIncomplete),
        (as_an_ablation, RunNotServable),
    ],
)
def test_run_that_is_not_fit_for_release_is_refused(
    run_copy: Path, tmp_path: Path, damage: Callable[[Path], None], error: type[RunError]
) -> None:
    damage(run_copy)
    with pytest.raises(error):
        ship_run(run_copy, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_oversized_run_is_not_released(run: TrainingRun, run_copy: Path, tmp_path: Path) -> None:
    (run_copy / "curves.png").write_bytes(bytes(release.MAX_RELEASE_BYTES))
    with pytest.raises(ReleaseTooLarge):
        ship_run(run_copy, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()


def test_a_folder_with_other_files_is_not_changed(run: TrainingRun, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FolderOccupied):
        ship_run(run.folder, tmp_path)
    with pytest.raises(FolderOccupied):
        ship_run(run.folder, run.folder)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_ship_command_reports_errors(tmp_path: Path) -> None:
    arguments = ["--run", str(tmp_path), "--out", str(tmp_path / "shipped")]
    result = CliRunner().invoke(app, ["ship", *arguments])
    assert (result.exit_code, "RunNotFound" in result.stderr) == (1, True)


def export(repository: Path, weights: Path, *arguments: str) -> dict[str, Any]:
    options = ["--preset", "mini", "--repository", str(repository), "--weights", str(weights)]
    result = CliRunner().invoke(app, ["export", *options, *arguments])
    assert result.exit_code == 0, result.output
    return json.loads((repository / "mini@1.json").read_text())


def test_a_preset_is_exported_with_its_shipped_weights(shipped: Path, tmp_path: Path) -> None:
    provenance = export(tmp_path, shipped.parent)
    report = json.loads((shipped / "report.json").read_text())
    assert (provenance["training"], provenance["run"]) == ("trained", "mini")
    assert provenance["data"]["fingerprint"] == report["data_fingerprint"]
    assert provenance["held_out"]["ccc"]["mean"] == report["ensemble"]["mean"]
    assert provenance["held_out"]["coverage_90"] == report["coverage_90"]
    assert provenance["held_out"]["world"]["seed"] == 3


def test_scores_of_other_weights_are_not_exported(run_copy: Path, tmp_path: Path) -> None:
    with_other_weights(run_copy)
    arguments = ["--run", str(run_copy), "--repository", str(tmp_path), "--name", "copy"]
    result = CliRunner().invoke(app, ["export", *arguments])
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "copy@1.json").read_text())
    assert (document["held_out"], document["figures"]) == (None, [])


@pytest.mark.parametrize("arguments", [["--untrained"], ["--seed", "5"]])
def test_untrained_weights_are_exported_on_request(
    shipped: Path, tmp_path: Path, arguments: list[str]
) -> None:
    provenance = export(tmp_path, shipped.parent, *arguments)
    seed = 5 if "--seed" in arguments else 0
    assert (provenance["training"], provenance["seed"]) == ("untrained", seed)


def test_a_preset_without_shipped_weights_is_untrained(tmp_path: Path) -> None:
    assert export(tmp_path, tmp_path / "none")["training"] == "untrained"


def test_a_run_cannot_be_exported_untrained(shipped: Path) -> None:
    result = CliRunner().invoke(app, ["export", "--run", str(shipped), "--untrained"])
    assert result.exit_code == 2
