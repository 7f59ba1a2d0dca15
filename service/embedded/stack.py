"""The whole service on one machine: Redis, Triton, a worker and the gateway, on the loopback."""

from __future__ import annotations

import http.client
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NoReturn

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.embedded.process import LOOPBACK, free_ports, require_free, run_process
from service.embedded.redis import is_redis_ready, run_redis
from service.embedded.triton import TritonPorts, is_triton_ready, run_triton
from service.errors import PartStopped
from service.settings import Settings

_START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
_FAILED_LOOKS: Final = 5
"""Looks in a row that a part has to miss before it counts as gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What runs, where, and how to ask each part whether it still does."""

    settings: Settings
    addresses: Mapping[str, str]
    parts: Mapping[str, Callable[[], bool]]

    def wait(self) -> NoReturn:
        """Wait until a part no longer answers; raises PartStopped."""
        missed = dict.fromkeys(self.parts, 0)
        while max(missed.values()) < _FAILED_LOOKS:
            time.sleep(_LOOK_SECONDS)
            missed = {
                name: 0 if answers() else missed[name] + 1 for name, answers in self.parts.items()
            }
        gone = ", ".join(name for name, count in missed.items() if count == _FAILED_LOOKS)
        raise PartStopped(f"{gone} no longer answers; see {_logs(self.settings)}")


@contextmanager
def run_stack(
    settings: Settings, *, on_start: Callable[[str], None] = lambda _: None
) -> Generator[Stack]:
    """Run everything until the context ends; says through `on_start` what starts next.

    Raises: PartNotStarted: with the end of that part's log.
    """
    with ExitStack() as parts:
        on_start("Redis")
        redis_url = parts.enter_context(
            run_redis(
                data_dir=settings.state_dir / "redis",
                logs_dir=_logs(settings),
                port=settings.embedded_redis_port,
            )
        )
        on_start("Triton")
        ports = parts.enter_context(_triton(settings))
        settings = settings.model_copy(
            update={"redis_url": redis_url, "triton_url": ports.grpc_url}
        )
        for name, port, path in (
            ("worker", settings.worker_metrics_port, "/metrics"),
            ("gateway", settings.http_port, "/health/ready"),
        ):
            on_start(name)
            parts.enter_context(_service(name, settings, port, path))
        yield Stack(
            settings=settings,
            addresses=_addresses(settings, ports),
            parts={
                "Redis": partial(is_redis_ready, settings.embedded_redis_port),
                "Triton": partial(is_triton_ready, ports.http),
                "worker": partial(_is_ok, settings.host, settings.worker_metrics_port, "/metrics"),
                "gateway": partial(_is_ok, settings.host, settings.http_port, "/health/live"),
            },
        )


@contextmanager
def open_triton(
    settings: Settings, *, on_start: Callable[[str], None] = lambda _: None
) -> Generator[Settings]:
    """Settings that reach a Triton: the one they name, else one that runs for this context."""
    if _answers_at(settings.triton_url):
        yield settings
        return
    on_start(f"No Triton answers at {settings.triton_url}; a private one starts (about 15 s) ...")
    with (
        TemporaryDirectory(prefix="circumplex-") as folder,
        _triton(stand_apart(settings, Path(folder))) as ports,
    ):
        yield settings.model_copy(update={"triton_url": ports.grpc_url})


def stand_apart(settings: Settings, state_dir: Path) -> Settings:
    """The settings of a stack that shares no port and no file with any other."""
    names = (
        "http_port",
        "worker_metrics_port",
        "embedded_redis_port",
        "embedded_triton_http_port",
        "embedded_triton_grpc_port",
        "embedded_triton_metrics_port",
    )
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    folders = {"state_dir": state_dir, "store_dir": state_dir / "store"}
    return settings.model_copy(update={**ports, **folders})


def _triton(settings: Settings) -> AbstractContextManager[TritonPorts]:
    return run_triton(
        server_dir=settings.runtime_dir / "triton",
        repository=settings.model_repository,
        logs_dir=_logs(settings),
        ports=TritonPorts(
            http=settings.embedded_triton_http_port,
            grpc=settings.embedded_triton_grpc_port,
            metrics=settings.embedded_triton_metrics_port,
        ),
    )


def _service(name: str, settings: Settings, port: int, path: str) -> AbstractContextManager[None]:
    """One process of the service, started the way anybody would start it."""
    require_free(f"The {name}", port)
    return run_process(
        name,
        [sys.executable, "-m", "service", name],
        is_ready=partial(_is_ok, settings.host, port, path),
        log_file=_logs(settings) / f"{name}.log",
        start_seconds=_START_SECONDS,
        environment=as_environment(settings),
    )


def as_environment(settings: Settings) -> dict[str, str]:
    """The variables under which another process reads these very settings."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {f"CIRCUMPLEX_{name.upper()}": str(value) for name, value in values.items()}


def _logs(settings: Settings) -> Path:
    return settings.state_dir / "logs"


def _addresses(settings: Settings, ports: TritonPorts) -> dict[str, str]:
    gateway = f"http://{settings.host}:{settings.http_port}"
    return {
        "REST": f"{gateway}/v1/jobs",
        "API docs": f"{gateway}/docs",
        "health": f"{gateway}/health/ready",
        "metrics (gateway)": f"{gateway}/metrics",
        "metrics (worker)": f"http://{settings.host}:{settings.worker_metrics_port}/metrics",
        "metrics (Triton)": f"http://{LOOPBACK}:{ports.metrics}/metrics",
        "Triton": f"http://{ports.http_url}, grpc://{ports.grpc_url}",
        "Redis": settings.redis_url,
        "logs": str(_logs(settings).absolute()),
    }


def _is_ok(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _answers_at(url: str) -> bool:
    with InferenceServerClient(url) as client:
        try:
            return client.is_server_ready(client_timeout=2.0) is True
        except InferenceServerException:
            return False
