"""Recipe of the shipped weights: steps, resumption, distribution."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from training.loop.options import Ablation
from training.loop.run_logger import RunLogger
from training.recipe import SHIPPED_RECIPE, Recipe
from training.shipping.errors import StepFailed
from training.shipping.reproduction import STEPS_FILE, build_command, is_step_done, run_recipe

SMALL_RECIPE = Recipe(
    preset="mini",
    dataset_options=("--actors", "10", "--seconds", "1", "--seed", "4", "--workers", "1"),
    calibration_options=("--actors", "3", "--seconds", "1", "--seed", "5", "--workers", "1"),
    stranger_options=("--actors", "3", "--seconds", "1", "--seed", "6", "--workers", "1"),
    training_options=(
        "--epochs",
        "1",
        "--backbone-epochs",
        "1",
        "--frames-per-window",
        "1",
        "--threads",
        "1",
    ),
    seed=0,
    fold_seeds=(),
    full_seeds=(),
    ablations=(Ablation.FACE_ONLY,),
)


def write_step_records(file: Path, *records: tuple[int, str, bool]) -> None:
    lines = [
        json.dumps({"step": step, "command": [command], "finished": done, "seconds": 1.0})
        for step, command, done in records
    ]
    file.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.timeout(600)
def test_small_recipe_runs_from_data_to_release_and_is_not_repeated(
    tmp_path: Path,
) -> None:
    run_recipe(SMALL_RECIPE, tmp_path, processes=1, logger=RunLogger(None))
    report = json.loads((tmp_path / "mini" / "report.json").read_text())
    assert set(report["ablations"]) == {"face_only"}
    assert report["calibration"]["subjects"] == 3
    uncertainty = json.loads((tmp_path / "mini" / "uncertainty.json").read_text())
    assert uncertainty["scenarios"]["all"]["subjects"] == 3
    margin = report["ablations"]["face_only"]["margin"]["mean"]
    card = (tmp_path / "mini" / "README.md").read_text()
    assert re.search(
        rf"^\| `face_only` \|.*\| {re.escape(f'{margin:+.3f}')} \|", card, re.MULTILINE
    )
    records = [json.loads(line) for line in (tmp_path / STEPS_FILE).read_text().splitlines()]
    assert [(record["step"], record["finished"]) for record in records] == [
        (number, True) for number in range(1, 10)
    ]
    run_recipe(SMALL_RECIPE, tmp_path, processes=1, logger=RunLogger(None))
    assert len((tmp_path / STEPS_FILE).read_text().splitlines()) == 9


def test_failed_step_stops_the_recipe_and_is_retried(tmp_path: Path) -> None:
    recipe = Recipe(
        preset="mini",
        dataset_options=("--rate", "7"),
        calibration_options=(),
        stranger_options=(),
        training_options=(),
        seed=0,
        fold_seeds=(),
        full_seeds=(),
        ablations=(),
    )
    for attempts in (1, 2):
        with pytest.raises(StepFailed, match="synthesise"):
            run_recipe(recipe, tmp_path, processes=1, logger=RunLogger(None))
        records = [json.loads(line) for line in (tmp_path / STEPS_FILE).read_text().splitlines()]
        assert [record["finished"] for record in records] == [False] * attempts


def test_finished_step_is_skipped_until_it_or_an_earlier_one_is_rerun(tmp_path: Path) -> None:
    file, command = tmp_path / STEPS_FILE, ["python", "train"]
    assert not is_step_done(file, 2, command)
    write_step_records(file, (1, "draw", True), (2, "train", False))
    assert not is_step_done(file, 2, command)
    write_step_records(file, (1, "draw", True), (2, "train", True), (3, "ship", True))
    assert is_step_done(file, 2, command)
    assert not is_step_done(file, 2, ["python", "train more"])
    write_step_records(file, (2, "train", True), (1, "draw", True))
    assert not is_step_done(file, 2, command)


def test_ablations_and_seeds_reuse_backbones_and_are_evaluated(
    tmp_path: Path,
) -> None:
    steps = replace(SHIPPED_RECIPE, fold_seeds=(4,), full_seeds=(5,)).build_steps(tmp_path)
    trained = {step.arguments[4]: step.arguments for step in steps if step.is_distributed}
    reused = ("--backbones", str(tmp_path / "full"))
    for ablation in Ablation:
        assert trained[str(tmp_path / ablation)][-4:] == ("--ablate", ablation, *reused)
    assert trained[str(tmp_path / "seed_4")][-2:] == reused
    own_backbones = [run for run, arguments in trained.items() if "--backbones" not in arguments]
    assert own_backbones == [str(tmp_path / "full"), str(tmp_path / "seed_5")]
    [evaluation] = [step.arguments for step in steps if step.arguments[0] == "evaluate"]
    assert len(trained) == 1 + len(Ablation) + 2
    assert set(trained) < set(evaluation)


def test_only_training_steps_are_distributed(tmp_path: Path) -> None:
    for step in SHIPPED_RECIPE.build_steps(tmp_path):
        launched = "torch.distributed.run" in build_command(step, 2)
        assert launched == (step.arguments[0] == "train")
        assert "torch.distributed.run" not in build_command(step, 1)
