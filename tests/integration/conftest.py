"""Fixtures of the integration tests: Redis, object store, settings, queue and gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client import CollectorRegistry

from service.auth.authenticator import Authenticator
from service.blobstore import open_store
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.queue.job_queue import JobQueue
from service.jobs.queue.leases import LeaseManager
from service.settings import YARDSTICK, Settings
from service.telemetry.metrics import Metrics
from tests.fake_estimators import FakeInferenceServer, make_fake_catalog, write_fake_estimator
from tests.integration.bucket_server import (
    KEY_ID,
    SECRET,
    BucketServer,
    list_foreign_variables,
    running_bucket,
)
from tests.integration.fake_streams import FakeStreams
from tests.integration.job_environment import JobEnvironment
from tests.integration.servers import (
    REDIS_VERSIONS,
    RedisServer,
    free_port,
    running_redis,
    serving,
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests of Lua scripts on every version of Redis, all others on one."""
    name = metafunc.definition.path.stem
    is_of_jobs = name.startswith("test_jobs_") and name != "test_jobs_processes"
    if (is_of_jobs or name == "test_rates") and "redis_server" in metafunc.fixturenames:
        metafunc.parametrize("redis_version", REDIS_VERSIONS, scope="session")


@pytest.fixture(scope="session")
def redis_version() -> str:
    return REDIS_VERSIONS[0]


@pytest.fixture(scope="session")
def redis_server(
    redis_version: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    with running_redis(tmp_path_factory.mktemp("redis"), redis_version) as server:
        yield server


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with running_bucket(tmp_path_factory.mktemp("bucket")) as server:
        yield server


@pytest.fixture
def bucket_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of the bucket in the environment, and no others."""
    for name in list_foreign_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Settings with models, queue, store and ports of this test alone."""
    models_dir = tmp_path / "models"
    write_fake_estimator(models_dir)
    return Settings(
        models=YARDSTICK,
        model_repository=models_dir,
        redis_url=redis_server.url,
        queue_name=f"test-{uuid4().hex}",
        store_dir=tmp_path / "store",
        grpc_port=free_port(),
        worker_metrics_port=free_port(),
        lease_seconds=1.0,
        max_upload_bytes=2**20,
        drain_seconds=5.0,
    )


@pytest.fixture
async def env(settings: Settings) -> AsyncGenerator[JobEnvironment]:
    """Queue and blob store of this test."""
    async with LeaseManager.open(settings) as leases, JobQueue.open(settings) as queue:
        yield JobEnvironment(
            settings=settings,
            leases=leases,
            queue=queue,
            store=open_store(settings),
            metrics=Metrics(CollectorRegistry()),
        )


@pytest.fixture
async def authenticator(settings: Settings) -> AsyncGenerator[Authenticator]:
    async with Authenticator.open(settings) as authenticator:
        yield authenticator


@pytest.fixture
def inference_server() -> FakeInferenceServer:
    """Server of the gateway's estimators."""
    return FakeInferenceServer()


@pytest.fixture
def gateway(
    env: JobEnvironment, authenticator: Authenticator, inference_server: FakeInferenceServer
) -> GatewayContext:
    return GatewayContext(
        settings=env.settings,
        authenticator=authenticator,
        store=env.store,
        job_queue=env.queue,
        streams=FakeStreams(),
        estimators=make_fake_catalog(env.settings, inference_server),
        metrics=env.metrics,
    )


@pytest.fixture
async def address(gateway: GatewayContext) -> AsyncGenerator[str]:
    """URL of a gateway on a socket."""
    async with serving(create_app(gateway)) as url:
        yield url
