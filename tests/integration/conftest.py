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
from service.settings import Settings
from service.telemetry.metrics import Metrics
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
    """Scripts of ours are tested on every version of Redis; processes and the rest on one."""
    name = metafunc.module.__name__
    is_of_jobs = "test_jobs_" in name and not name.endswith("_processes")
    if (is_of_jobs or name.endswith("test_rates")) and "redis_server" in metafunc.fixturenames:
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
    """This process may use the bucket, with these credentials and no others."""
    for name in list_foreign_variables():
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> Settings:
    """Settings of a gateway and worker that share nothing with another test's."""
    return Settings(
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
    """The jobs room and the store, open."""
    async with LeaseManager.open(settings) as ledger, JobQueue.open(settings) as desk:
        yield JobEnvironment(
            settings=settings,
            leases=ledger,
            queue=desk,
            store=open_store(settings),
            metrics=Metrics(CollectorRegistry()),
        )


async def _inference_is_ready() -> bool:
    return True


@pytest.fixture
async def authenticator(settings: Settings) -> AsyncGenerator[Authenticator]:
    async with Authenticator.open(settings) as gate:
        yield gate


@pytest.fixture
def gateway(env: JobEnvironment, authenticator: Authenticator) -> GatewayContext:
    return GatewayContext(
        settings=env.settings,
        authenticator=authenticator,
        store=env.store,
        job_queue=env.queue,
        streams=FakeStreams(),
        is_inference_ready=_inference_is_ready,
        metrics=env.metrics,
    )


@pytest.fixture
async def address(gateway: GatewayContext) -> AsyncGenerator[str]:
    """A gateway on a real socket."""
    async with serving(create_app(gateway)) as url:
        yield url
