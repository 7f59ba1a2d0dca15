"""Execution of a recipe, step by step; finished steps are recorded in OUT/steps.jsonl."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from training.loop.run_logger import RunLogger
from training.recipe import Recipe, RecipeStep
from training.shipping.errors import StepFailed

STEPS_FILE: Final = "steps.jsonl"


def run_recipe(recipe: Recipe, out: Path, *, processes: int, logger: RunLogger) -> None:
    """Run the recipe from the first step that has not finished with its current command.

    Raises: StepFailed.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps = recipe.build_steps(out)
    for number, step in enumerate(steps, start=1):
        command = build_command(step, processes)
        title = f"[{number}/{len(steps)}] {step.title}"
        if not is_step_done(out / STEPS_FILE, number, command):
            logger.log(f"{title}: {_format_command(command)}")
            _run_step(out / STEPS_FILE, number, command)
        logger.log(f"{title}: done, {_format_minutes(out / STEPS_FILE, number)}")


def build_command(step: RecipeStep, processes: int) -> list[str]:
    """Build a step's command with this Python; several processes are started by torchrun."""
    if not step.is_distributed or processes == 1:
        return [sys.executable, "-m", "training", *step.arguments]
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, "-m", *launch, "-m", "training", *step.arguments, "--threads", "1"]


def is_step_done(file: Path, number: int, command: Sequence[str]) -> bool:
    """Return whether the step's last finished command is this one, with no earlier step since."""
    done = [
        record for record in _read_records(file) if record["finished"] and record["step"] <= number
    ]
    return bool(done) and (done[-1]["step"], done[-1]["command"]) == (number, [*command[1:]])


def _run_step(file: Path, number: int, command: Sequence[str]) -> None:
    began, code = time.monotonic(), None
    try:
        code = _run_command(command)
    finally:
        record = {"step": number, "command": [*command[1:]], "finished": code == 0}
        seconds = {"seconds": round(time.monotonic() - began, 1)}
        with file.open("a", encoding="utf-8") as steps_file:
            steps_file.write(json.dumps(record | seconds) + "\n")
    if code != 0:
        raise StepFailed(
            f"exit status {code} of {_format_command(command)}; repeat the command to resume"
        )


def _run_command(command: Sequence[str]) -> int:
    """Run a command and return its exit status; an interrupt terminates it first."""
    with subprocess.Popen(command) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            raise


def _read_records(file: Path) -> list[dict[str, Any]]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines]


def _format_minutes(file: Path, number: int) -> str:
    seconds = sum(record["seconds"] for record in _read_records(file) if record["step"] == number)
    return f"{seconds / 60:.1f} min"


def _format_command(command: Sequence[str]) -> str:
    return " ".join(["python", *command[1:]])
