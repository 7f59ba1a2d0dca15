"""Accuracy of the shipped weights on newly drawn actors of another seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from training.cli import app
from training.data.layout import Split
from training.evaluation.report import evaluate_run
from training.loop.run_logger import RunLogger

SHIPPED_RUN = Path(__file__).parents[2] / "weights" / "mini"
SEED = 4_711
MIN_CCC = 0.7
"""For six actors of eight seconds each; over many actors the shipped weights reach more."""


@pytest.fixture
def unseen_actors(tmp_path: Path) -> Path:
    """A data set of eight actors, six of them in the test split."""
    world = tmp_path / "world"
    arguments = ["--actors", "8", "--seconds", "8", "--seed", str(SEED), "--workers", "1"]
    result = CliRunner().invoke(app, ["synthesise", "--out", str(world), *arguments])
    assert result.exit_code == 0, result.output
    annotations = world / "VA_Estimation_Challenge"
    for file in sorted((annotations / "Train_Set").glob("*.txt"))[1:]:
        file.rename(annotations / "Test_Set" / file.name)
    return world


def test_unseen_actors_are_estimated_well(unseen_actors: Path, tmp_path: Path) -> None:
    report = evaluate_run(
        SHIPPED_RUN,
        unseen_actors,
        split=Split.TEST,
        device=torch.device("cpu"),
        logger=RunLogger(None),
        out=tmp_path / "evaluation",
    )
    assert report["subjects"] == 6
    assert report["ensemble"]["held_out"]
    assert report["ensemble"]["valence"] >= MIN_CCC
    assert report["ensemble"]["arousal"] >= MIN_CCC
