"""Export of a pulled file by the training code, in a process of its own.

The service imports neither that code nor torch.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from service.errors import ModelExportFailed, TrainingCodeMissing
from service.model_catalogue.entries import CatalogueEntry

NEEDED_MODULES: Final = ("training", "torch", "onnx", "safetensors", "httpx")
_QUOTED_LINES: Final = 3


def require_training_code() -> None:
    """Look for what downloads and exports need. Raises: TrainingCodeMissing."""
    missing = [name for name in NEEDED_MODULES if find_spec(name) is None]
    if missing:
        raise TrainingCodeMissing(
            f"{', '.join(missing)} cannot be imported: install the extra `training`, or pull on a "
            "machine that has it and copy model_repository"
        )


def export_pulled_model(
    entry: CatalogueEntry, file: Path, repository: Path, catalogue: Path | None
) -> str:
    """Export a pulled file; returns NAME@VERSION. Raises: ModelExportFailed."""
    arguments = [entry.name, "--file", str(file), "--repository", str(repository)]
    if catalogue is not None:
        arguments += ["--catalogue", str(catalogue)]
    process = subprocess.run(
        [sys.executable, "-m", "training", "export-pulled", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        lines = process.stderr.strip().splitlines()[-_QUOTED_LINES:]
        raise ModelExportFailed("\n".join(lines) or f"exit status {process.returncode}")
    return process.stdout.strip()
