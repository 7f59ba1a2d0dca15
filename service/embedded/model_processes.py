"""Model processes of the embedded Triton, which come and go as models are loaded and unloaded."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

import psutil

from service.embedded.process import LOOPBACK

_NAME: Final = "triton_python_backend_stub"
_MODEL_ARGUMENT: Final = 1
"""Index in the command line: program, file of the model, shared memory ..."""
_TIMEOUT_SECONDS: Final = 5.0


class ModelProcessWatch:
    """Finds model processes that have crashed: Triton serves their model and cannot run it."""

    def __init__(self, servers: Iterable[psutil.Process], http_port: int) -> None:
        self._servers = tuple(servers)
        self._http_port = http_port
        self._models: dict[psutil.Process, str] = {}
        """Models by the processes that were alive at the last call."""
        self._models = self._list_processes()

    def find_crashed(self) -> list[str]:
        """Return the models whose process has ended although they are not unloaded."""
        alive = self._list_processes()
        ended = [model for process, model in self._models.items() if process not in alive]
        self._models = alive
        missing = set(ended) - set(alive.values())
        return sorted(missing & list_loaded_models(self._http_port)) if missing else []

    def _list_processes(self) -> dict[psutil.Process, str]:
        found: dict[psutil.Process, str] = {}
        for server in self._servers:
            with suppress(psutil.NoSuchProcess):
                for process in server.children(recursive=True):
                    model = self._models.get(process) or _find_model(process)
                    if model is not None and is_alive(process):
                        found[process] = model
        return found


def _find_model(process: psutil.Process) -> str | None:
    """Name of the model that a process runs, from the path of its file; None: it runs none."""
    try:
        arguments = process.cmdline()
    except psutil.Error:
        return None
    if len(arguments) <= _MODEL_ARGUMENT or not arguments[0].endswith(_NAME):
        return None
    return arguments[_MODEL_ARGUMENT].rsplit("/", 3)[-3]


def is_alive(process: psutil.Process) -> bool:
    """Return whether a process runs and is no zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def list_loaded_models(http_port: int) -> set[str]:
    """Return the names of the models that a Triton has loaded; none if it does not answer."""
    connection = http.client.HTTPConnection(LOOPBACK, http_port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("POST", "/v2/repository/index", body=b'{"ready": true}')
        models: list[dict[str, str]] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return set()
    finally:
        connection.close()
    return {model["name"] for model in models}
