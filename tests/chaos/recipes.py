"""The parts of a stack as recipes: Redis and Triton below, gateways and workers above them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from service.embedded.process import LOOPBACK, free_ports
from service.embedded.redis import redis_answers, redis_command
from service.embedded.stack import as_environment
from service.embedded.triton import (
    TritonPorts,
    region_prefix,
    triton_command,
    triton_environment,
    triton_is_ready,
)
from service.settings import Settings
from tests.chaos.parts import RESTART_SECONDS, Kind, Recipe, answers_well

_REGIONS: Final = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Redis and Triton, and the settings of whoever uses them."""

    settings: Settings
    recipes: Sequence[Recipe]


@contextmanager
def lay_ground(
    settings: Settings, folder: Path, *, redis_away_seconds: float = RESTART_SECONDS
) -> Iterator[Ground]:
    """Recipes of a Redis and a Triton on free ports, with everything they write in `folder`."""
    redis_port, http, grpc, metrics = free_ports(4)
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
    with region_prefix() as prefix:
        yield Ground(
            settings=settings,
            recipes=(
                Recipe(
                    name="redis",
                    kind=Kind.REDIS,
                    command=redis_command(data_dir, redis_port),
                    is_ready=partial(redis_answers, redis_port),
                    away_seconds=redis_away_seconds,
                ),
                _triton(settings, ports, prefix),
            ),
        )


def _triton(settings: Settings, ports: TritonPorts, prefix: str) -> Recipe:
    server_dir = (settings.runtime_dir / "triton").resolve()
    repository = settings.model_repository.resolve()
    return Recipe(
        name="triton",
        kind=Kind.TRITON,
        command=triton_command(server_dir, repository, ports, prefix),
        environment=triton_environment(server_dir),
        is_ready=partial(triton_is_ready, ports.http),
        sweep=partial(_remove_regions, prefix),
    )


def _remove_regions(prefix: str) -> None:
    """What a Triton that was killed has left: nobody else can know of it."""
    for region in _REGIONS.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Gateways and workers; where the gateways listen."""

    recipes: Sequence[Recipe]
    addresses: tuple[str, ...]


def hire(settings: Settings, *, gateways: int, workers: int) -> Crew:
    """Recipes of so many gateways and workers, on free ports."""
    ports = free_ports(2 * gateways + workers)
    doors, grpc, metrics = ports[:gateways], ports[gateways : 2 * gateways], ports[2 * gateways :]
    found = [
        _service(
            Kind.GATEWAY,
            number,
            settings.model_copy(update={"grpc_port": grpc_port}),
            "http_port",
            port,
            "/health/ready",
        )
        for number, (port, grpc_port) in enumerate(zip(doors, grpc, strict=True), start=1)
    ]
    found += [
        _service(Kind.WORKER, number, settings, "worker_metrics_port", port, "/metrics")
        for number, port in enumerate(metrics, start=1)
    ]
    return Crew(
        recipes=tuple(found), addresses=tuple(f"http://{LOOPBACK}:{port}" for port in doors)
    )


def _service(
    kind: Kind, number: int, settings: Settings, setting: str, port: int, path: str
) -> Recipe:
    return Recipe(
        name=f"{kind}-{number}",
        kind=kind,
        command=[sys.executable, "-m", "service", str(kind)],
        environment=as_environment(settings.model_copy(update={setting: port})),
        is_ready=partial(answers_well, port, path),
    )
