"""Environments of the peers: a virtual environment for each, and the files that all load."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.domain.model_signatures import ENSEMBLE_MODELS
from service.estimators.repository import EstimatorRepository
from service.faces.tflite import MESH_FILE, SHORT_RANGE_FILE
from service.pipeline.estimators import read_default_manifest
from service.settings import Settings

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENTS: Final = {
    "fastapi": "fastapi",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "ray": "ray",
    "script": "fastapi",
}
"""Folder of each peer's requirements; what the script imports is part of the handler's."""
_RETAINED_BYTES: Final = str(2**28)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEnvironment:
    """Interpreter of a peer, the environment variables that are added, and its log."""

    python: Path
    variables: dict[str, str]
    log_file: Path


def create_environment(peer: str, folder: Path) -> Path:
    """Create a peer's virtual environment, unless it is there as pinned; returns its Python."""
    requirements = Path(__file__).with_name(ENVIRONMENTS[peer]) / "requirements.txt"
    environment = folder / ENVIRONMENTS[peer]
    python, stamp = environment / "bin" / "python", environment / "requirements.sha256"
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != digest:
        venv.create(environment, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--requirement", requirements]
        subprocess.run(command, check=True)
        stamp.write_text(digest)
    return python


def collect_model_files(folder: Path, settings: Settings) -> None:
    """Copy the default model's files and the face networks, under the names that peers load."""
    folder.mkdir(parents=True, exist_ok=True)
    repository = EstimatorRepository(settings.model_repository)
    estimator = read_default_manifest(settings).id
    for model in ENSEMBLE_MODELS:
        shutil.copy(repository.model_file(estimator, model.name), folder / f"{model.name}.pt")
    for name in (SHORT_RANGE_FILE, MESH_FILE):
        shutil.copy(settings.face_models_dir / name, folder / name)


def make_peer_environment(peer: str, python: Path, files: Path, logs_dir: Path) -> PeerEnvironment:
    """Make the environment in which a peer runs, with what was found to be fastest for all.

    One thread of torch in each process: more of them than cores spin against each other. Memory
    stays with the process, as PyTorch's tuning guide advises for CPUs: in the kernel's hands,
    each large tensor is mapped anew.
    """
    logs_dir.mkdir(parents=True, exist_ok=True)
    return PeerEnvironment(
        python=python,
        log_file=logs_dir / f"{peer}.log",
        variables={
            "PYTHONPATH": str(ROOT),
            "PEER_FILES": str(files.absolute()),
            "OMP_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": _RETAINED_BYTES,
            "MALLOC_TRIM_THRESHOLD_": _RETAINED_BYTES,
            "BENTOML_DO_NOT_TRACK": "True",
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    )
