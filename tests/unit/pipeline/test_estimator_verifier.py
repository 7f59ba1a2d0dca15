"""Verification of estimators over a fake server: what is asked how often, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.domain.estimator import EstimatorId, EstimatorManifest
from service.errors import InferenceUnavailable, ModelChanged, ModelNotServed
from service.estimators.repository import EstimatorRepository
from service.pipeline.model_monitor import ModelMonitor
from service.pipeline.verification import EstimatorVerifier
from service.settings import Settings
from service.telemetry.metrics import Metrics
from tests.fake_estimators import FakeInferenceServer, make_fake_catalog, write_fake_estimator

MINI, OTHER = EstimatorId("mini", 1), EstimatorId("other", 1)


class VerifyingServer(FakeInferenceServer):
    """Counts its verifications; they wait until `may_answer` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.verified = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.started = asyncio.Event()

    async def verify(self, manifest: EstimatorManifest) -> None:
        self.verified += 1
        self.started.set()
        await self.may_answer.wait()
        await super().verify(manifest)


@pytest.fixture
def repository(tmp_path: Path) -> EstimatorRepository:
    for estimator in (MINI, OTHER):
        write_fake_estimator(tmp_path, estimator.name)
    return EstimatorRepository(tmp_path)


async def test_clients_share_a_check_and_a_later_use_is_not_covered_by_it(
    repository: EstimatorRepository,
) -> None:
    server = VerifyingServer()
    verifier, manifest = EstimatorVerifier(repository, server), repository.read_manifest(MINI)
    await asyncio.gather(*(verifier.verify(manifest) for _ in range(5)))
    assert server.verified == 1
    await verifier.verify(manifest, max_age_seconds=0)
    assert server.verified == 2


async def test_a_client_that_leaves_does_not_end_the_check_of_others(
    repository: EstimatorRepository,
) -> None:
    server = VerifyingServer()
    server.may_answer.clear()
    verifier, manifest = EstimatorVerifier(repository, server), repository.read_manifest(MINI)
    first, second = (asyncio.create_task(verifier.verify(manifest)) for _ in range(2))
    await server.started.wait()
    first.cancel()
    await asyncio.sleep(0)
    server.may_answer.set()
    await second
    assert (server.verified, first.cancelled()) == (1, True)


async def test_a_failed_check_is_repeated_at_once(repository: EstimatorRepository) -> None:
    server = VerifyingServer()
    verifier, manifest = EstimatorVerifier(repository, server), repository.read_manifest(MINI)
    server.changed.add(MINI)
    with pytest.raises(ModelChanged):
        await verifier.verify(manifest)
    server.changed.clear()
    await verifier.verify(manifest)


@pytest.mark.parametrize("interruption", ["unreachable", "unloaded"])
async def test_after_an_interruption_what_is_loaded_is_checked_again(
    interruption: str, repository: EstimatorRepository
) -> None:
    server = VerifyingServer()
    verifier, manifest = EstimatorVerifier(repository, server), repository.read_manifest(MINI)
    await verifier.verify(manifest)
    if interruption == "unreachable":
        server.error = InferenceUnavailable()
    else:
        server.unloaded.add(MINI)
    with pytest.raises((InferenceUnavailable, ModelNotServed)):
        await verifier.verify(manifest)
    server.error = None
    server.unloaded.clear()
    await verifier.verify(manifest)
    assert server.verified == 2


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _replace_by_link(file: Path) -> None:
    other = file.with_name("other.pt")
    other.write_bytes(b"other")
    file.unlink()
    file.symlink_to(other)


def _change_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("change", [_truncate, _replace_by_link, _change_a_byte, Path.unlink])
async def test_a_changed_file_is_an_error_until_it_is_restored(
    change: Callable[[Path], None], repository: EstimatorRepository
) -> None:
    verifier = EstimatorVerifier(repository, FakeInferenceServer())
    manifest, other = map(repository.read_manifest, (MINI, OTHER))
    await verifier.verify(manifest)
    file = repository.model_file(MINI, "fusion")
    original = file.read_bytes()
    change(file)
    with pytest.raises(ModelChanged, match="restore it, or export"):
        await verifier.verify(manifest)
    await verifier.verify(other)
    file.unlink(missing_ok=True)
    file.write_bytes(original)
    await verifier.verify(manifest)


async def test_the_monitor_publishes_current_versions_alone(
    repository: EstimatorRepository,
) -> None:
    registry = CollectorRegistry()
    settings = Settings(model_repository=repository.folder, models="mini,other")
    server = FakeInferenceServer()
    catalog = make_fake_catalog(settings, server)
    monitor = ModelMonitor(catalog, Metrics(registry), interval_seconds=0)

    def read(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"circumplex_model_{name}", labels)

    await monitor.check_once()
    assert (read("ready", model="mini@1"), read("ready", model="other@1")) == (1, 1)
    assert read("info", model="mini@1", domain="unknown", default="true") == 1
    server.changed.add(MINI)
    await monitor.check_once()
    await monitor.check_once()
    assert (read("ready", model="mini@1"), read("ready", model="other@1")) == (0, 1)
    assert read("changed_total", model="mini@1") == 1
    write_fake_estimator(repository.folder, "mini", 2)
    with repository.locked():
        repository.set_current(EstimatorId("mini", 2))
    await monitor.check_once()
    assert (read("ready", model="mini@1"), read("ready", model="mini@2")) == (None, 1)
