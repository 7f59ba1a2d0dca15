from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from training.loop.journal import Journal
from training.loop.options import Ablation
from training.recipe import SHIPPED, Recipe
from training.shipping.errors import StepFailed
from training.shipping.reproduction import STEPS, build_command, reproduce, stands

SMALL = Recipe(
    preset="mini",
    world=("--actors", "10", "--seconds", "1", "--seed", "4", "--workers", "1"),
    strangers=("--actors", "3", "--seconds", "1", "--seed", "5", "--workers", "1"),
    learning=(
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
    seeds=(),
    whole_seeds=(),
    ablations=(Ablation.FACE_ONLY,),
)


def note(file: Path, *records: tuple[int, str, bool]) -> None:
    lines = [
        json.dumps({"step": step, "command": [command], "finished": done, "seconds": 1.0})
        for step, command, done in records
    ]
    file.write_text("".join(f"{line}\n" for line in lines))


@pytest.mark.timeout(600)
def test_a_small_recipe_goes_from_nothing_to_a_shipment_and_is_not_cooked_twice(
    tmp_path: Path,
) -> None:
    reproduce(SMALL, tmp_path, processes=1, journal=Journal(None))
    report = json.loads((tmp_path / "mini" / "report.json").read_text())
    assert set(report["ablations"]) == {"face_only"}
    assert report["calibration"]["subjects"] == 3
    margin = report["ablations"]["face_only"]["margin"]["mean"]
    card = (tmp_path / "mini" / "README.md").read_text()
    assert re.search(
        rf"^\| `face_only` \|.*\| {re.escape(f'{margin:+.3f}')} \|", card, re.MULTILINE
    )
    records = [json.loads(line) for line in (tmp_path / STEPS).read_text().splitlines()]
    assert [(record["step"], record["finished"]) for record in records] == [
        (number, True) for number in range(1, 8)
    ]
    reproduce(SMALL, tmp_path, processes=1, journal=Journal(None))
    assert len((tmp_path / STEPS).read_text().splitlines()) == 7


def test_a_step_that_fails_ends_it_and_is_taken_again(tmp_path: Path) -> None:
    recipe = Recipe(
        preset="mini",
        world=("--rate", "7"),
        strangers=(),
        learning=(),
        seed=0,
        seeds=(),
        whole_seeds=(),
        ablations=(),
    )
    for attempts in (1, 2):
        with pytest.raises(StepFailed, match="synthesise"):
            reproduce(recipe, tmp_path, processes=1, journal=Journal(None))
        records = [json.loads(line) for line in (tmp_path / STEPS).read_text().splitlines()]
        assert [record["finished"] for record in records] == [False] * attempts


def test_a_step_stands_until_it_or_an_earlier_one_is_taken_anew(tmp_path: Path) -> None:
    file, command = tmp_path / STEPS, ["python", "train"]
    assert not stands(file, 2, command)
    note(file, (1, "draw", True), (2, "train", False))
    assert not stands(file, 2, command)
    note(file, (1, "draw", True), (2, "train", True), (3, "ship", True))
    assert stands(file, 2, command)
    assert not stands(file, 2, ["python", "train more"])
    note(file, (2, "train", True), (1, "draw", True))
    assert not stands(file, 2, command)


def test_ablations_and_seeds_take_the_full_models_backbones_and_stand_in_the_evaluation(
    tmp_path: Path,
) -> None:
    steps = replace(SHIPPED, seeds=(4,), whole_seeds=(5,)).steps(tmp_path)
    trained = {step.arguments[4]: step.arguments for step in steps if step.spread}
    taken = ("--backbones", str(tmp_path / "full"))
    for ablation in Ablation:
        assert trained[str(tmp_path / ablation)][-4:] == ("--ablate", ablation, *taken)
    assert trained[str(tmp_path / "seed_4")][-2:] == taken
    alone = [run for run, arguments in trained.items() if "--backbones" not in arguments]
    assert alone == [str(tmp_path / "full"), str(tmp_path / "seed_5")]
    [evaluation] = [step.arguments for step in steps if step.arguments[0] == "evaluate"]
    assert len(trained) == 1 + len(Ablation) + 2
    assert set(trained) < set(evaluation)


def test_only_learning_is_spread_over_processes(tmp_path: Path) -> None:
    for step in SHIPPED.steps(tmp_path):
        launched = "torch.distributed.run" in build_command(step, 2)
        assert launched == (step.arguments[0] == "train")
        assert "torch.distributed.run" not in build_command(step, 1)
