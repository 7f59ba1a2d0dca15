"""Embedded stack: Redis, Triton, a worker and the gateway on the loopback of one machine."""

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
from typing import Final, NoReturn, TypeVar

import psutil
from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from service.embedded.model_processes import ModelProcessWatch, is_alive
from service.embedded.process import LOOPBACK, find_free_ports, require_free_port, run_process
from service.embedded.redis import run_redis
from service.embedded.triton import TritonPorts, run_triton
from service.errors import EmbeddedServerStopped
from service.settings import Settings
from service.telemetry.redaction import redact

T = TypeVar("T")

_START_SECONDS: Final = 30.0
_LIVENESS_POLL_SECONDS: Final = 0.5
_STOP_MARGIN_SECONDS: Final = 15.0
"""Grace period beyond a process's own drain time, for handing jobs back and closing."""

ProgressCallback = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack: settings, addresses, and the processes of each part that must stay alive."""

    settings: Settings
    addresses: Mapping[str, str]
    parts: Mapping[str, frozenset[psutil.Process]]
    model_processes: ModelProcessWatch

    def wait(self) -> NoReturn:
        """Wait until a process of a part ends. Raises: EmbeddedServerStopped."""
        while not (ended := self.find_ended_parts()):
            time.sleep(_LIVENESS_POLL_SECONDS)
        raise EmbeddedServerStopped(
            f"{', '.join(ended)}: a process ended; see {_logs_dir(self.settings)}"
        )

    def find_ended_parts(self) -> list[str]:
        """Names of the parts of which a process has ended; a loaded model is a part of Triton."""
        ended = [name for name, part in self.parts.items() if not all(map(is_alive, part))]
        if "Triton" not in ended and self.model_processes.find_crashed():
            ended.append("Triton")
        return ended


@contextmanager
def run_stack(
    settings: Settings, *, on_start: ProgressCallback = lambda _: None
) -> Generator[Stack]:
    """Run the stack until the context ends; `on_start` is called with the name of each part.

    Raises: EmbeddedServerNotStarted: with the end of that part's log.
    """
    with _PartStack(on_start) as parts:
        redis = run_redis(
            data_dir=settings.state_dir / "redis",
            logs_dir=_logs_dir(settings),
            port=settings.embedded_redis_port,
        )
        redis_url = parts.start("Redis", redis)
        ports = parts.start("Triton", _run_configured_triton(settings))
        settings = settings.model_copy(
            update={"redis_url": redis_url, "triton_url": ports.grpc_url}
        )
        worker = _run_service_process("worker", settings, settings.worker_metrics_port, "/metrics")
        parts.start("worker", worker)
        gateway = _run_service_process("gateway", settings, settings.http_port, "/health/ready")
        parts.start("gateway", gateway)
        yield Stack(
            settings=settings,
            addresses=_list_addresses(settings, ports),
            parts=parts.processes,
            model_processes=ModelProcessWatch(parts.processes["Triton"], ports.http),
        )


class _PartStack(ExitStack):
    """Enters one part after the other and records the processes that each has started."""

    def __init__(self, on_start: ProgressCallback) -> None:
        super().__init__()
        self._on_start = on_start
        self.processes: dict[str, frozenset[psutil.Process]] = {}

    def start(self, name: str, part: AbstractContextManager[T]) -> T:
        """Enter a part."""
        self._on_start(name)
        before = set(psutil.Process().children())
        entered = self.enter_context(part)
        self.processes[name] = frozenset(set(psutil.Process().children()) - before)
        return entered


@contextmanager
def open_triton(
    settings: Settings, *, on_start: ProgressCallback = lambda _: None
) -> Generator[Settings]:
    """Yield settings of a reachable Triton: the configured one, else an embedded one."""
    if _is_triton_reachable(settings.triton_url):
        yield settings
        return
    on_start(f"No Triton answers at {settings.triton_url}; a private one starts (some seconds) ...")
    with (
        TemporaryDirectory(prefix="circumplex-") as folder,
        _run_configured_triton(isolate_settings(settings, Path(folder))) as ports,
    ):
        yield settings.model_copy(update={"triton_url": ports.grpc_url})


def isolate_settings(settings: Settings, state_dir: Path) -> Settings:
    """Settings of a stack that shares no port and no file with any other."""
    names = (
        "http_port",
        "grpc_port",
        "worker_metrics_port",
        "embedded_redis_port",
        "embedded_triton_http_port",
        "embedded_triton_grpc_port",
        "embedded_triton_metrics_port",
    )
    ports = dict(zip(names, find_free_ports(len(names)), strict=True))
    folders = {"state_dir": state_dir, "store_dir": state_dir / "store"}
    return settings.model_copy(update={**ports, **folders})


def _run_configured_triton(settings: Settings) -> AbstractContextManager[TritonPorts]:
    return run_triton(
        server_dir=settings.runtime_dir / "triton",
        repository=settings.model_repository,
        logs_dir=_logs_dir(settings),
        models=settings.served_models,
        ports=TritonPorts(
            http=settings.embedded_triton_http_port,
            grpc=settings.embedded_triton_grpc_port,
            metrics=settings.embedded_triton_metrics_port,
        ),
    )


def _run_service_process(
    name: str, settings: Settings, port: int, path: str
) -> AbstractContextManager[None]:
    """Run one process of the service through its command-line interface."""
    require_free_port(f"The {name}", port)
    return run_process(
        name,
        [sys.executable, "-m", "service", name],
        is_ready=partial(_is_http_ok, settings.host, port, path),
        log_file=_logs_dir(settings) / f"{name}.log",
        start_seconds=_START_SECONDS,
        stop_seconds=settings.drain_delay_seconds + settings.drain_seconds + _STOP_MARGIN_SECONDS,
        environment=settings_to_environment(settings),
    )


def settings_to_environment(settings: Settings) -> dict[str, str]:
    """Environment variables from which another process reads the same settings."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {f"CIRCUMPLEX_{name.upper()}": str(value) for name, value in values.items()}


def _logs_dir(settings: Settings) -> Path:
    return settings.state_dir / "logs"


def _list_addresses(settings: Settings, ports: TritonPorts) -> dict[str, str]:
    gateway = f"http://{settings.host}:{settings.http_port}"
    return {
        "REST": f"{gateway}/v1/jobs",
        "gRPC": f"{settings.host}:{settings.grpc_port}",
        "API docs": f"{gateway}/docs",
        "health": f"{gateway}/health/ready",
        "metrics (gateway)": f"{gateway}/metrics",
        "metrics (worker)": f"http://{settings.host}:{settings.worker_metrics_port}/metrics",
        "metrics (Triton)": f"http://{LOOPBACK}:{ports.metrics}/metrics",
        "Triton": f"http://{ports.http_url}, grpc://{ports.grpc_url}",
        "Redis": redact(settings.redis_url),
        "logs": str(_logs_dir(settings).absolute()),
    }


def _is_http_ok(host: str, port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_triton_reachable(url: str) -> bool:
    # not through a proxy of the environment
    options = [("grpc.enable_http_proxy", 0)]
    with InferenceServerClient(url, channel_args=options) as client:
        try:
            return client.is_server_ready(client_timeout=2.0)
        except InferenceServerException:
            return False
