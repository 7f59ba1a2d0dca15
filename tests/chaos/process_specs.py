"""Process specifications of a stack: the backends Redis and Triton, gateways and workers."""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from service.embedded.process import LOOPBACK, find_free_ports
from service.embedded.redis import build_redis_command, is_redis_ready
from service.embedded.stack import settings_to_environment
from service.embedded.triton import (
    TritonPorts,
    build_triton_command,
    build_triton_environment,
    find_parts,
    is_triton_ready,
    shared_memory_prefix,
)
from service.estimators.repository import EstimatorRepository
from service.settings import Settings
from tests.chaos.supervisor import RESTART_DELAY_SECONDS, ProcessKind, ProcessSpec, responds_ok

_SHARED_MEMORY_DIR: Final = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpecs:
    """Specifications of Redis and Triton, and settings of the services that use them."""

    settings: Settings
    specs: Sequence[ProcessSpec]


@contextmanager
def prepare_backends(
    settings: Settings, folder: Path, *, redis_away_seconds: float = RESTART_DELAY_SECONDS
) -> Generator[BackendSpecs]:
    """Specify a Redis and a Triton on free ports that write to `folder` only."""
    redis_port, http, grpc, metrics = find_free_ports(4)
    ports = TritonPorts(http=http, grpc=grpc, metrics=metrics)
    settings = settings.model_copy(
        update={
            "redis_url": f"redis://{LOOPBACK}:{redis_port}/0",
            "triton_url": ports.grpc_url,
            "state_dir": folder,
            "store_dir": folder / "store",
        }
    )
    data_dir = folder / "redis"
    data_dir.mkdir(parents=True)
    with shared_memory_prefix() as prefix:
        yield BackendSpecs(
            settings=settings,
            specs=(
                ProcessSpec(
                    name="redis",
                    kind=ProcessKind.REDIS,
                    command=build_redis_command(data_dir, redis_port),
                    is_ready=partial(is_redis_ready, redis_port),
                    restart_delay_seconds=redis_away_seconds,
                ),
                _make_triton_spec(settings, ports, prefix),
            ),
        )


def _make_triton_spec(settings: Settings, ports: TritonPorts, prefix: str) -> ProcessSpec:
    server_dir = (settings.runtime_dir / "triton").resolve()
    repository = settings.model_repository.resolve()
    parts = find_parts(EstimatorRepository(repository), settings.served_models)
    return ProcessSpec(
        name="triton",
        kind=ProcessKind.TRITON,
        command=build_triton_command(server_dir, repository, ports, prefix, parts),
        environment=build_triton_environment(server_dir),
        is_ready=partial(is_triton_ready, ports.http),
        clean_up=partial(_remove_regions, prefix),
    )


def _remove_regions(prefix: str) -> None:
    """Remove the shared memory that a killed Triton has left."""
    for region in _SHARED_MEMORY_DIR.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpecs:
    """Specifications of gateways and workers, and URLs of the gateways."""

    specs: Sequence[ProcessSpec]
    addresses: tuple[str, ...]


def make_service_specs(settings: Settings, *, gateways: int, workers: int) -> ServiceSpecs:
    """Specify gateways and workers on free ports."""
    ports = find_free_ports(2 * gateways + workers)
    http, grpc, metrics = ports[:gateways], ports[gateways : 2 * gateways], ports[2 * gateways :]
    specs = [
        _make_service_spec(
            ProcessKind.GATEWAY,
            number,
            settings.model_copy(update={"grpc_port": grpc_port}),
            "http_port",
            port,
            "/health/ready",
        )
        for number, (port, grpc_port) in enumerate(zip(http, grpc, strict=True), start=1)
    ]
    specs += [
        _make_service_spec(
            ProcessKind.WORKER, number, settings, "worker_metrics_port", port, "/metrics"
        )
        for number, port in enumerate(metrics, start=1)
    ]
    return ServiceSpecs(
        specs=tuple(specs), addresses=tuple(f"http://{LOOPBACK}:{port}" for port in http)
    )


def _make_service_spec(
    kind: ProcessKind, number: int, settings: Settings, setting: str, port: int, path: str
) -> ProcessSpec:
    return ProcessSpec(
        name=f"{kind}-{number}",
        kind=kind,
        command=[sys.executable, "-m", "service", str(kind)],
        environment=settings_to_environment(settings.model_copy(update={setting: port})),
        is_ready=partial(responds_ok, port, path),
    )
