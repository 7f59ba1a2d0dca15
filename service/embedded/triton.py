"""Embedded Triton on the CPU, as unpacked by `deploy.provision.triton`."""

from __future__ import annotations

import http.client
import logging
import os
import re
import secrets
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import psutil
from mirakuru import ProcessExitedWithError

from service.embedded.process import LOOPBACK, find_free_ports, require_free_port, run_process
from service.errors import EmbeddedServerNotStarted, ModelsMissing
from service.estimators.repository import EstimatorRepository, parse_choice
from service.estimators.verification import FileVerifier

_log = logging.getLogger(__name__)

_START_SECONDS: Final = 180.0
_START_ATTEMPTS: Final = 5
_GIVEN_UP: Final = "is not healthy"
"""Triton's words for a model process that it has given up."""
_LOAD_THREADS: Final = 2
"""Models that are loaded at a time: more of them would start processes than a core can take."""
_EXIT_SECONDS: Final = 8
_BINARY: Final = "pytriton/tritonserver/bin/tritonserver"
_MODEL_RUNTIME: Final = "backends/pytorch/model_runtime.py"
_SHARED_MEMORY_DIR: Final = Path("/dev/shm")  # noqa: S108 - where Linux lists shared memory
_REGION_PREFIX: Final = "circumplex-triton"
_PLAIN_PATH: Final = re.compile(r"[\w./+-]+", re.ASCII)
_LINKS_PARENT: Final = "/tmp"  # noqa: S108 - a private folder is created in it


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonPorts:
    """Ports of Triton on the loopback address; 0: a free one."""

    http: int = 0
    grpc: int = 0
    metrics: int = 0

    @property
    def grpc_url(self) -> str:
        """host:port for a gRPC client."""
        return f"{LOOPBACK}:{self.grpc}"

    @property
    def http_url(self) -> str:
        """host:port for an HTTP client."""
        return f"{LOOPBACK}:{self.http}"


@contextmanager
def run_triton(
    *,
    server_dir: Path,
    repository: Path,
    logs_dir: Path,
    models: Sequence[str] | None = None,
    ports: TritonPorts | None = None,
) -> Generator[TritonPorts]:
    """Run Triton and yield its ports once the models are loaded and warm.

    Args: server_dir: unpacked by `deploy.provision.triton`; repository: with exported models.
        models: NAME or NAME@VERSION of each estimator to load; None: the current version of each
            name. Others can be loaded later.
    Raises: EmbeddedServerNotStarted; ModelChanged; RequestInvalid: `models` is malformed;
        ModelUnknown, ModelNotServed, ModelsMissing: not exported.
    """
    if not all((server_dir.resolve() / each).is_file() for each in (_BINARY, _MODEL_RUNTIME)):
        raise EmbeddedServerNotStarted(f"Triton is not in {server_dir}: run `make setup`")
    parts = find_parts(EstimatorRepository(repository), models)
    chosen = _choose_ports(ports or TritonPorts())
    with (
        shared_memory_prefix() as prefix,
        _plain_path(server_dir.resolve()) as server,
        _plain_path(repository.resolve()) as folder,
        _start_repeatedly(
            lambda: run_process(
                "Triton",
                build_triton_command(server, folder, chosen, prefix, parts),
                is_ready=lambda: is_triton_ready(chosen.http),
                log_file=logs_dir / "triton.log",
                start_seconds=_START_SECONDS,
                environment=build_triton_environment(server),
            )
        ),
    ):
        yield chosen


@contextmanager
def _start_repeatedly(
    run: Callable[[], AbstractContextManager[None]],
) -> Generator[None]:
    """Enter the context, again where Triton's Python backend fails at its start.

    It does so now and then on a busy machine, when several model processes start at once: it aborts
    (`boost::interprocess::lock_exception`), or gives up a process that had no processor for a
    second.
    """
    with ExitStack() as stack:
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                stack.enter_context(run())
                break
            except EmbeddedServerNotStarted as error:
                if attempt == _START_ATTEMPTS or not _is_temporary(error):
                    raise
                _log.warning("Triton failed at its start and is started again: %s", error)
        yield


def _is_temporary(error: EmbeddedServerNotStarted) -> bool:
    cause = error.__cause__
    if not isinstance(cause, ProcessExitedWithError):
        return False
    return cause.exit_code == -signal.SIGABRT or _GIVEN_UP in str(error)


@contextmanager
def _plain_path(folder: Path) -> Generator[Path]:
    """Yield a path of `folder` that needs no quoting in a shell: itself, or a link for the time.

    Triton starts the processes of its Python backend by a shell command with unquoted paths.
    """
    if _PLAIN_PATH.fullmatch(str(folder)):
        yield folder
        return
    with TemporaryDirectory(dir=_LINKS_PARENT, prefix="circumplex-triton-") as links:
        link = Path(links, "folder")
        link.symlink_to(folder)
        yield link


@contextmanager
def shared_memory_prefix() -> Generator[str]:
    """Yield a name prefix for the shared memory of one Triton, and clean up on exit.

    A Triton that ends during its start leaves its regions behind, and a model process whose server
    was killed may wait in one forever. Both are removed, and the regions of killed owners too.
    """
    prefix = f"{_REGION_PREFIX}-{os.getpid()}-{secrets.token_hex(4)}-"
    try:
        yield prefix
    finally:
        _kill_model_processes(prefix)
        for region in _SHARED_MEMORY_DIR.glob(f"{_REGION_PREFIX}-*"):
            owner = region.name.removeprefix(f"{_REGION_PREFIX}-").partition("-")[0]
            if region.name.startswith(prefix) or not Path("/proc", owner).exists():
                region.unlink(missing_ok=True)


def _kill_model_processes(prefix: str) -> None:
    """Kill remaining model processes with this prefix in their command line."""
    for process in psutil.process_iter(["cmdline"]):
        arguments: list[str] = process.info["cmdline"] or []
        if any(argument.startswith(prefix) for argument in arguments):
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _choose_ports(ports: TritonPorts) -> TritonPorts:
    free = find_free_ports(3)
    chosen = TritonPorts(
        http=ports.http or free[0],
        grpc=ports.grpc or free[1],
        metrics=ports.metrics or free[2],
    )
    for port in (chosen.http, chosen.grpc, chosen.metrics):
        require_free_port("Triton", port)
    return chosen


def build_triton_command(
    server_dir: Path, repository: Path, ports: TritonPorts, prefix: str, parts: Sequence[str]
) -> list[str]:
    """Command line of Triton; prefix: of its shared memory's names; parts: the models to load."""
    return [
        # It starts the server as this process.
        *(sys.executable, str(server_dir / _MODEL_RUNTIME)),
        str(server_dir / _BINARY),
        *("--model-repository", str(repository)),
        *("--backend-directory", str(server_dir / "backends")),
        *("--http-address", LOOPBACK, "--http-port", str(ports.http)),
        *("--grpc-address", LOOPBACK, "--grpc-port", str(ports.grpc)),
        *("--metrics-address", LOOPBACK, "--metrics-port", str(ports.metrics)),
        *("--backend-config", f"python,shm-region-prefix-name={prefix}"),
        # For calls of models among each other, of which there are none; 32 threads a model.
        *("--backend-config", "python,thread-pool-size=1"),
        *("--exit-timeout-secs", str(_EXIT_SECONDS)),
        "--disable-auto-complete-config",
        "--model-control-mode=explicit",
        f"--model-load-thread-count={_LOAD_THREADS}",
        # Otherwise it is not ready while a model is unloaded, for 8 s.
        "--strict-readiness=false",
        *(f"--load-model={part}" for part in parts),
    ]


def find_parts(repository: EstimatorRepository, models: Sequence[str] | None) -> list[str]:
    """Find the names of the models of Triton that estimators consist of, and verify their files.

    Args and raises: as `run_triton`.
    """
    if models is None:
        models = sorted({each.name for each in repository.list_ids()})
    chosen = dict.fromkeys(repository.resolve(parse_choice(each)) for each in models)
    manifests = [repository.read_manifest(each) for each in chosen]
    for manifest in manifests:
        FileVerifier(repository).verify(manifest)
    if not manifests:
        raise ModelsMissing(f"{repository.folder} holds no models: run `make export`")
    return [each.id.part_name(slot.name) for each in manifests for slot in each.served_slots]


def build_triton_environment(server_dir: Path) -> dict[str, str]:
    """Environment in which the backend finds this interpreter's libraries and packages."""
    libraries = f"{server_dir / 'lib'}:{server_dir / 'nvidia_pytriton.libs'}"
    return {
        "LD_LIBRARY_PATH": libraries,
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}",
        # The stand-in backend computes on the CPU, so Triton must not plan for a GPU.
        "CUDA_VISIBLE_DEVICES": "",
        # Model processes share the cores: idle threads sleep instead of spinning.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def is_triton_ready(port: int) -> bool:
    """Check whether every model of the Triton with this HTTP port is loaded and warm."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()
