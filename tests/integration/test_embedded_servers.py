"""Embedded servers: start failures, shutdown, and no process left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from service.embedded.process import LOOPBACK, find_free_ports, run_process
from service.embedded.redis import run_redis
from service.embedded.triton import (
    TritonPorts,
    is_triton_ready,
    run_triton,
    shared_memory_prefix,
)
from service.errors import EmbeddedServerNotStarted

PARENT_PROGRAM = """
import sys, time
from pathlib import Path
from service.embedded.redis import run_redis
folder = Path(sys.argv[1])
with run_redis(data_dir=folder, logs_dir=folder) as url:
    print(url, flush=True)
    time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def test_a_killed_parent_ends_its_server(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT_PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline().rstrip("/0\n").rpartition(":")[2])
        assert is_listening(port)
        os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: not is_listening(port))


def test_redis_data_survives_a_restart(tmp_path: Path) -> None:
    for expected in (None, b"1"):
        with (
            run_redis(data_dir=tmp_path / "data", logs_dir=tmp_path) as url,
            redis.Redis.from_url(url) as client,  # pyright: ignore[reportUnknownMemberType]  # its keyword arguments have no types
        ):
            assert client.get("count") == expected
            client.set("count", 1)
            policy = client.config_get("maxmemory-policy")  # pyright: ignore[reportUnknownMemberType]  # its keyword arguments have no types
            assert policy == {"maxmemory-policy": "noeviction"}


def test_redis_listens_on_the_given_port_until_its_context_ends(tmp_path: Path) -> None:
    [port] = find_free_ports(1)
    with run_redis(data_dir=tmp_path, logs_dir=tmp_path, port=port) as url:
        assert url == f"redis://127.0.0.1:{port}/0"
    assert not is_listening(port)


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with (
            pytest.raises(EmbeddedServerNotStarted, match=f"port {port} is in use"),
            run_redis(data_dir=tmp_path, logs_dir=tmp_path, port=port),
        ):
            pass


def test_a_server_that_ends_at_its_start_raises_with_the_end_of_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(
            EmbeddedServerNotStarted, match=r"(?s)Broken ended with status 3.*no such luck"
        ),
        run_process(
            "Broken",
            ["sh", "-c", "echo no such luck; exit 3"],
            is_ready=lambda: False,
            log_file=tmp_path / "logs" / "broken.log",
            start_seconds=30,
        ),
    ):
        pass


def test_a_server_that_is_never_ready_is_stopped_and_named(tmp_path: Path) -> None:
    with (
        pytest.raises(EmbeddedServerNotStarted, match="Slow was not ready after 0 s"),
        run_process(
            "Slow",
            ["sleep", "600"],
            is_ready=lambda: False,
            log_file=tmp_path / "slow.log",
            start_seconds=0.2,
        ),
    ):
        pass


def test_missing_triton_raises_with_the_remedy(tmp_path: Path) -> None:
    with (
        pytest.raises(EmbeddedServerNotStarted, match="make setup"),
        run_triton(server_dir=tmp_path, repository=tmp_path, logs_dir=tmp_path),
    ):
        pass


def test_a_repository_without_exports_raises_with_the_remedy(
    triton_dir: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(EmbeddedServerNotStarted, match="not exported: any model"),
        run_triton(
            server_dir=triton_dir, repository=tmp_path, logs_dir=tmp_path, ports=TritonPorts()
        ),
    ):
        pass


def test_a_model_missing_from_the_export_is_named(triton_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "config.pbtxt").write_text('name: "newer"\nbackend: "pytorch"\n')
    with (
        pytest.raises(EmbeddedServerNotStarted, match="not exported: newer; run `make setup`"),
        run_triton(server_dir=triton_dir, repository=tmp_path, logs_dir=tmp_path),
    ):
        pass


def test_model_processes_end_with_a_killed_unreaped_server(
    triton_dir: Path, mini_repository: Path, tmp_path: Path
) -> None:
    def subprocesses(name: str) -> set[psutil.Process]:
        found = psutil.Process().children(recursive=True)
        return {each for each in found if name in each.name()}

    before = subprocesses("triton")
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path):
        started = subprocesses("triton") - before
        [server] = [each for each in started if each.name() == "tritonserver"]
        models = server.children(recursive=True)
        assert len(models) >= 4
        # the server's pid, by which they notice its end
        assert {model.cmdline()[5] for model in models} == {str(server.pid)}
        server.kill()
        wait_until(lambda: not any(map(psutil.Process.is_running, models)))
        assert server.status() == psutil.STATUS_ZOMBIE


def test_a_model_process_that_waits_for_a_dead_server_is_killed() -> None:
    wait = "import sys; sys.stdin.read()"
    with shared_memory_prefix() as prefix:
        command = [sys.executable, "-c", wait, f"{prefix}region"]
        waiting = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert waiting.wait(timeout=10) == -signal.SIGKILL
    assert waiting.stdin is not None
    waiting.stdin.close()


def test_triton_serves_from_a_folder_with_an_unusual_name(
    triton_dir: Path, mini_repository: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "Grüße mit  Leerzeichen & 'Zitat' $HOME"
    server_dir, repository = folder / "triton", folder / "models"
    folder.mkdir()
    server_dir.symlink_to(triton_dir)
    shutil.copytree(mini_repository, repository)
    with run_triton(server_dir=server_dir, repository=repository, logs_dir=folder) as ports:
        wait_until(lambda: is_triton_ready(ports.http))
