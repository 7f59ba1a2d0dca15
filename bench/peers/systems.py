"""Compared systems: the service, the peers behind HTTP, and the plain script."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, Final

import httpx
import numpy as np
import psutil
from circumplex_client import Client

from bench.peers.environments import PeerEnvironment
from service.domain.array_types import Float64Array
from service.embedded.process import LOOPBACK, find_free_ports, run_process
from service.embedded.stack import isolate_settings, run_stack
from service.settings import Settings

SERVICE: Final = "circumplex"
SCRIPT: Final = "script"
SERVERS: Final[Mapping[str, Sequence[str]]] = {
    "fastapi": ("uvicorn", "bench.peers.fastapi.server:app", "--log-level=warning", "--port"),
    "litserve": ("bench.peers.litserve.server",),
    "bentoml": ("bentoml", "serve", "bench.peers.bentoml.server:ClipService", "--port"),
    "ray": ("bench.peers.ray.server",),
}
"""Module and arguments of each server; the port comes last."""
SYSTEMS: Final = (SERVICE, *SERVERS, SCRIPT)
_START_SECONDS: Final = 180.0
_CLIP_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerEstimates:
    """Answer of a system: times (T,) in seconds, values (T, 2); NaN where there is no estimate."""

    times_seconds: Float64Array
    values: Float64Array

    @staticmethod
    def from_columns(columns: Mapping[str, Sequence[float | None]]) -> PeerEstimates:
        """Read columns of time, valence and arousal."""
        values = np.array([columns["valence"], columns["arousal"]], np.float64).T
        return PeerEstimates(times_seconds=np.array(columns["time"], np.float64), values=values)


Annotate = Callable[[Path], PeerEstimates]
"""Sends a clip and waits for its estimates; called by several threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningSystem:
    """A started system, and its processes without their children."""

    name: str
    start_seconds: float
    annotate: Annotate
    processes: tuple[psutil.Process, ...]


@contextmanager
def run_system(
    name: str, environment: PeerEnvironment | None, settings: Settings
) -> Generator[RunningSystem]:
    """Run one of SYSTEMS until the context ends.

    Args: environment: of a peer; None: the service.

    Raises: EmbeddedServerNotStarted.
    """
    run: AbstractContextManager[Annotate]
    if environment is None:
        run = _run_service(settings)
    elif name == SCRIPT:
        run = _run_script(environment)
    else:
        run = _run_server(name, environment)
    before, began = set(psutil.Process().children()), time.perf_counter()
    with run as annotate:
        yield RunningSystem(
            name=name,
            start_seconds=time.perf_counter() - began,
            annotate=annotate,
            processes=tuple(set(psutil.Process().children()) - before),
        )


@contextmanager
def _run_service(settings: Settings) -> Generator[Annotate]:
    with (
        TemporaryDirectory(prefix="circumplex-") as folder,
        run_stack(isolate_settings(settings, Path(folder))) as stack,
        Client(f"http://{stack.settings.host}:{stack.settings.http_port}") as client,
    ):
        yield partial(_annotate_by_job, client)


def _annotate_by_job(client: Client, clip: Path) -> PeerEstimates:
    result = client.result(client.wait(client.submit(clip).id).id)
    return PeerEstimates.from_columns(
        {"time": result.time, "valence": result.valence, "arousal": result.arousal}
    )


@contextmanager
def _run_server(name: str, environment: PeerEnvironment) -> Generator[Annotate]:
    (port,) = find_free_ports(1)
    url = f"http://{LOOPBACK}:{port}/annotate"
    with (
        httpx.Client(timeout=_CLIP_SECONDS, trust_env=False) as client,
        run_process(
            name,
            [str(environment.python), "-m", *SERVERS[name], str(port)],
            is_ready=partial(_is_answering, client, url),
            log_file=environment.log_file,
            start_seconds=_START_SECONDS,
            environment=environment.variables,
        ),
    ):
        yield partial(_annotate_by_upload, client, url)


def _annotate_by_upload(client: httpx.Client, url: str, clip: Path) -> PeerEstimates:
    with clip.open("rb") as file:
        response = client.post(url, files={"clip": (clip.name, file, "video/mp4")})
    return PeerEstimates.from_columns(response.raise_for_status().json())


def _is_answering(client: httpx.Client, url: str) -> bool:
    """Ask for what is no upload; Ray Serve answers 404 until its deployment runs."""
    try:
        return client.get(url, timeout=5.0).status_code == HTTPStatus.METHOD_NOT_ALLOWED
    except httpx.TransportError:
        return False


@contextmanager
def _run_script(environment: PeerEnvironment) -> Generator[Annotate]:
    with (
        environment.log_file.open("wb") as log,
        subprocess.Popen(
            [environment.python, "-m", "bench.peers.script"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | environment.variables,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield _ScriptClient(process.stdin, process.stdout).annotate


class _ScriptClient:
    """Gives the script one clip after the other; concurrent callers wait for their turn."""

    def __init__(self, paths: IO[bytes], answers: IO[bytes]) -> None:
        """Wait until the script has loaded its models."""
        self._paths, self._answers = paths, answers
        self._lock = threading.Lock()
        self._read()

    def annotate(self, clip: Path) -> PeerEstimates:
        """Have a clip annotated."""
        with self._lock:
            self._paths.write(f"{clip.absolute()}\n".encode())
            self._paths.flush()
            return PeerEstimates.from_columns(self._read())

    def _read(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("The script has ended; see its log")
        return json.loads(line)
