"""python -m proof"""

from __future__ import annotations

import typer

from proof.command import run_evaluation

if __name__ == "__main__":
    typer.run(run_evaluation)
