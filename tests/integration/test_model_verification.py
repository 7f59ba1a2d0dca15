"""Verification of what Triton has loaded, on a backend that does not look at the file's hash.

So does Triton's own libtorch backend.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from tritonclient.grpc import InferenceServerClient

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import FUSION, LOG_MEL
from service.embedded.triton import TritonPorts, run_triton
from service.errors import ModelChanged
from service.estimators.probe import CPU_TOLERANCE, measure_deviation
from service.estimators.repository import EstimatorRepository
from service.pipeline.estimators import EstimatorCatalog
from service.settings import YARDSTICK, Settings
from service.telemetry.metrics import Metrics
from service.triton.client import connect_triton
from training.export import ExportTarget, export_untrained
from training.presets import MINI

FIRST, SECOND = EstimatorId(YARDSTICK, 1), EstimatorId(YARDSTICK, 2)
HASH_CHECK = "if sha256 is not None and found != sha256:"


@pytest.fixture(scope="module")
def repository(mini_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions with other weights."""
    folder = tmp_path_factory.mktemp("verification") / "models"
    shutil.copytree(mini_repository, folder)
    export_untrained(MINI, ExportTarget(repository=folder, estimator=SECOND), seed=2)
    return folder


@pytest.fixture(scope="module")
def trusting_triton(
    triton_dir: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonPorts]:
    """A Triton that loads any file, whatever the hash in the configuration."""
    server = tmp_path_factory.mktemp("server")
    shutil.copytree(triton_dir, server, dirs_exist_ok=True, symlinks=True)
    backend = server / "backends" / "pytorch" / "torch_model.py"
    code = backend.read_text(encoding="utf-8")
    assert HASH_CHECK in code
    backend.unlink()
    backend.write_text(code.replace(HASH_CHECK, "if False:"), encoding="utf-8")
    logs = tmp_path_factory.mktemp("logs")
    with run_triton(
        server_dir=server, repository=repository, logs_dir=logs, models=[str(SECOND)]
    ) as ports:
        yield ports


@pytest.fixture
async def catalog(
    trusting_triton: TritonPorts, repository: Path, tmp_path: Path
) -> AsyncGenerator[EstimatorCatalog]:
    settings = Settings(
        model_repository=repository,
        models=YARDSTICK,
        triton_url=trusting_triton.grpc_url,
        store_dir=tmp_path,
    )
    async with connect_triton(settings, Metrics(CollectorRegistry())) as triton:
        yield EstimatorCatalog(settings, triton)


@contextmanager
def exchanged(file: Path, other: Path) -> Generator[None]:
    """Another file in the place of a file while the context lasts."""
    original = file.read_bytes()
    file.write_bytes(other.read_bytes())
    try:
        yield
    finally:
        file.write_bytes(original)


async def test_a_file_that_was_exchanged_at_the_load_and_back_is_known_by_its_answers(
    catalog: EstimatorCatalog, trusting_triton: TritonPorts, repository: Path
) -> None:
    files = EstimatorRepository(repository)
    part = SECOND.part_name(FUSION.name)
    with InferenceServerClient(trusting_triton.grpc_url) as client:
        with exchanged(*(files.model_file(each, FUSION.name) for each in (SECOND, FIRST))):
            client.load_model(part)
        with pytest.raises(ModelChanged, match=r"mini@2\.fusion answers its probe otherwise"):
            await catalog.open(SECOND)
        client.load_model(part)
    served = await catalog.open(SECOND)
    await catalog.confirm(served)


async def test_another_file_in_the_configuration_is_found(
    catalog: EstimatorCatalog, trusting_triton: TritonPorts, repository: Path
) -> None:
    folder = repository / SECOND.part_name(FUSION.name)
    shutil.copy(folder / "1" / "model.pt", folder / "1" / "other.pt")
    config = folder / "config.pbtxt"
    original = config.read_text(encoding="utf-8")
    part = SECOND.part_name(FUSION.name)
    with InferenceServerClient(trusting_triton.grpc_url) as client:
        config.write_text(original + 'default_model_filename: "other.pt"\n', encoding="utf-8")
        try:
            client.load_model(part)
            with pytest.raises(ModelChanged, match=r"from another file \(other\.pt"):
                await catalog.open(SECOND)
        finally:
            config.write_text(original, encoding="utf-8")
        client.load_model(part)


def test_every_probe_tells_two_versions_apart(repository: Path) -> None:
    files = EstimatorRepository(repository)
    first, second = map(files.read_manifest, (FIRST, SECOND))
    deviations = {
        slot: measure_deviation(first.models[slot].probe, second.models[slot].probe)
        for slot in first.models
    }
    assert deviations.pop(LOG_MEL.name) == 0  # it has no weights
    assert min(deviations.values()) > 100 * CPU_TOLERANCE


async def test_a_manifest_without_probes_is_refused(
    catalog: EstimatorCatalog, repository: Path
) -> None:
    """Exports of before there were probes cannot be verified on the server."""
    file = EstimatorRepository(repository).manifest_file(SECOND)
    original = file.read_bytes()
    document = json.loads(original)
    for model in document["models"].values():
        del model["probe"]
    file.write_text(json.dumps(document), encoding="utf-8")
    try:
        with pytest.raises(ModelChanged, match="has no probe"):
            await catalog.open(SECOND)
    finally:
        file.write_bytes(original)
