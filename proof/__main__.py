"""python -m proof"""

from __future__ import annotations

import typer

from proof.command import prove

if __name__ == "__main__":
    typer.run(prove)
