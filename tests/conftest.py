"""Session fixtures: a real Triton, and exported model repositories."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.domain.estimator import EstimatorId
from service.embedded.triton import TritonPorts, run_triton
from service.settings import Settings
from training.export import ExportTarget, export_untrained
from training.export_run import export_run
from training.presets import MINI, PAPER, Preset

ROOT = Path(__file__).resolve().parents[1]
SEED = 0


@pytest.fixture(scope="session")
def triton_dir() -> Path:
    """Directory of the unpacked Triton, with the current stand-in backend."""
    folder = ROOT / Settings().runtime_dir / "triton"
    unpacked = folder / "backends" / "pytorch"
    assert unpacked.is_dir(), "Triton is not unpacked: run `make setup`"
    for file in (ROOT / "deploy" / "triton" / "pytorch").glob("*.py"):
        assert (unpacked / file.name).read_bytes() == file.read_bytes(), (
            "outdated: run `make setup`"
        )
    return folder


@pytest.fixture(scope="session")
def mini_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the untrained small preset.

    Random weights suffice: their outputs differ from frame to frame.
    """
    return _export(MINI, tmp_path_factory.mktemp("mini"))


@pytest.fixture(scope="session")
def shipped_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the shipped weights, as by `make setup`."""
    repository = tmp_path_factory.mktemp("shipped")
    export_run(
        ROOT / "weights" / "mini",
        ExportTarget(repository=repository, estimator=EstimatorId("mini", 1)),
    )
    return repository


@pytest.fixture(scope="session")
def paper_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A repository with the paper's preset, half a gigabyte."""
    repository = _export(PAPER, tmp_path_factory.mktemp("paper"))
    yield repository
    shutil.rmtree(repository)


@pytest.fixture(scope="session")
def triton_server(
    triton_dir: Path, mini_repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonPorts]:
    """A real Triton serving the small preset."""
    logs = tmp_path_factory.mktemp("triton")
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=logs) as ports:
        yield ports


def _export(preset: Preset, repository: Path) -> Path:
    target = ExportTarget(repository=repository, estimator=EstimatorId(preset.name, 1))
    export_untrained(preset, target, seed=SEED)
    return repository
