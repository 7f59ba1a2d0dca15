"""Entry point of `python -m e2e_eval`."""

from __future__ import annotations

import typer

from e2e_eval.command import run_evaluation

if __name__ == "__main__":
    typer.run(run_evaluation)
