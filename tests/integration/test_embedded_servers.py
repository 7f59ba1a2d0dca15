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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
from tritonclient.grpc import InferenceServerClient

from service.domain.estimator import EstimatorId
from service.domain.model_signatures import SERVED_MODELS
from service.embedded.model_processes import ModelProcessWatch, is_alive
from service.embedded.process import LOOPBACK, find_free_ports, run_process
from service.embedded.redis import run_redis
from service.embedded.triton import (
    TritonPorts,
    find_parts,
    is_triton_ready,
    run_triton,
    shared_memory_prefix,
)
from service.errors import (
    CircumplexError,
    EmbeddedServerNotStarted,
    ModelChanged,
    ModelNotServed,
    ModelsMissing,
    ModelUnknown,
)
from service.estimators.repository import EstimatorRepository
from service.settings import Settings
from tests.fake_estimators import write_fake_estimator

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
        pytest.raises(ModelsMissing, match="holds no models: run `make export`"),
        run_triton(
            server_dir=triton_dir, repository=tmp_path, logs_dir=tmp_path, ports=TritonPorts()
        ),
    ):
        pass


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("other", ModelUnknown, "no model 'other' is exported"),
        ("mini@2", ModelNotServed, "mini@2 is not exported; there are mini@1"),
    ],
)
def test_a_model_that_is_not_exported_is_named(
    triton_dir: Path, tmp_path: Path, model: str, error: type[CircumplexError], message: str
) -> None:
    write_fake_estimator(tmp_path)
    with (
        pytest.raises(error, match=message),
        run_triton(
            server_dir=triton_dir, repository=tmp_path, logs_dir=tmp_path, models=["mini", model]
        ),
    ):
        pass


@pytest.mark.parametrize("content", [None, b"of another export"])
def test_a_file_that_is_not_the_manifests_is_named(
    triton_dir: Path, tmp_path: Path, content: bytes | None
) -> None:
    manifest = write_fake_estimator(tmp_path)
    file = EstimatorRepository(tmp_path).model_file(manifest.id, "fusion")
    file.unlink() if content is None else file.write_bytes(content)
    with (
        pytest.raises(
            ModelChanged, match=r"mini@1\.fusion/1/model\.pt is not .* export the model again"
        ),
        run_triton(server_dir=triton_dir, repository=tmp_path, logs_dir=tmp_path),
    ):
        pass


def test_current_versions_are_loaded_unless_others_are_chosen(tmp_path: Path) -> None:
    for name, version in (("mini", 1), ("mini", 2), ("mini", 3), ("other", 1)):
        write_fake_estimator(tmp_path, name, version)
    repository = EstimatorRepository(tmp_path)
    repository.set_current(EstimatorId("mini", 2))

    def find_estimators(*models: str) -> set[str]:
        return {part.partition(".")[0] for part in find_parts(repository, models or None)}

    assert find_parts(repository, ["mini@3"]) == [f"mini@3.{each.name}" for each in SERVED_MODELS]
    assert find_estimators("mini") == {"mini@2"}
    assert find_estimators("mini@1", "other") == {"mini@1", "other@1"}
    assert find_estimators() == {"mini@2", "other@1"}


def test_a_face_only_estimator_has_no_models_of_the_voice(tmp_path: Path) -> None:
    write_fake_estimator(tmp_path, modalities=("face",))
    parts = find_parts(EstimatorRepository(tmp_path), None)
    voice = {"mini@1.log_mel", "mini@1.audio_backbone"}
    assert set(parts) == {f"mini@1.{each.name}" for each in SERVED_MODELS} - voice


STUB = "triton_python_backend_stub"
RUNTIME = "model_runtime.py"


def find_server() -> psutil.Process:
    """Find the Triton that this test has started last."""
    servers = [each for each in psutil.Process().children() if each.name() == "tritonserver"]
    return max(servers, key=psutil.Process.create_time)


def find_subprocesses(server: psutil.Process, name: str) -> list[psutil.Process]:
    """Find the processes of a Triton with a name in their command line."""
    found = server.children(recursive=True)
    return [each for each in found if any(name in word for word in each.cmdline())]


def test_model_processes_end_with_a_killed_unreaped_server(
    triton_dir: Path, mini_repository: Path, tmp_path: Path
) -> None:
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path):
        server = find_server()
        stubs, runtime = find_subprocesses(server, STUB), find_subprocesses(server, RUNTIME)
        assert len(runtime) == 1 + len(stubs) >= 5
        server.kill()
        wait_until(lambda: not any(map(psutil.Process.is_running, stubs + runtime)))
        assert server.status() == psutil.STATUS_ZOMBIE


def test_a_model_and_its_process_end_together(
    triton_dir: Path, mini_repository: Path, tmp_path: Path
) -> None:
    with run_triton(server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path) as ports:
        server = find_server()
        watch = ModelProcessWatch([server], ports.http)
        stubs = find_subprocesses(server, STUB)
        [runtime] = [each for each in server.children() if each not in stubs]
        models = {each.name(): each for each in runtime.children()}
        with InferenceServerClient(ports.grpc_url) as client:
            client.unload_model("mini@1.live_fusion")
        wait_until(lambda: not is_alive(models["live_fusion"]))
        assert watch.find_crashed() == []
        models["log_mel"].kill()
        wait_until(lambda: watch.find_crashed() == ["mini@1.log_mel"])
        assert is_alive(models["fusion"])
        runtime.kill()
        wait_until(lambda: not any(map(is_alive, [*stubs, *models.values()])))
        assert set(watch.find_crashed()) >= {"mini@1.fusion", "mini@1.audio_backbone"}


def stop_while_it_loads(model: str, seconds: float) -> None:
    """Stop the process of a model that a new Triton loads, as a machine without time for it would.

    The servers that run already are of other tests.
    """
    earlier = set(psutil.Process().children(recursive=True))

    def find_loading() -> list[psutil.Process]:
        return [
            each
            for each in set(psutil.Process().children(recursive=True)) - earlier
            if is_alive(each) and each.name() == model
        ]

    wait_until(lambda: bool(find_loading()))
    [stub] = [each for each in find_subprocesses(find_server(), STUB) if is_of(each, model)]
    stub.suspend()
    time.sleep(seconds)  # no event tells that Triton has given it up, which it does after one
    stub.resume()


def is_of(stub: psutil.Process, model: str) -> bool:
    return any(f".{model}_0" in word for word in stub.cmdline())


def test_a_model_process_that_triton_gave_up_does_not_hold_up_its_start(
    triton_dir: Path, mini_repository: Path, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as threads:
        stopping = threads.submit(stop_while_it_loads, "live_fusion", 2.5)
        with run_triton(
            server_dir=triton_dir, repository=mini_repository, logs_dir=tmp_path
        ) as ports:
            stopping.result()
            assert is_triton_ready(ports.http)
    assert (tmp_path / "triton.log.previous").exists()


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


@pytest.mark.parametrize(
    ("models", "default", "served"),
    [
        ("mini", "mini@2", {"mini@1", "mini@2"}),
        ("mini", "mini@1", {"mini@1"}),
        ("mini@2", "mini", {"mini@2"}),
        ("mini@1,mini@2", "mini@2", {"mini@1", "mini@2"}),
        ("mini mini@1", "", {"mini@1"}),
    ],
)
def test_the_default_is_loaded_with_the_models_of_the_settings_each_once(
    tmp_path: Path, models: str, default: str, served: set[str]
) -> None:
    for version in (1, 2):
        write_fake_estimator(tmp_path, "mini", version)
    repository = EstimatorRepository(tmp_path)
    repository.set_current(EstimatorId("mini", 1))
    settings = Settings(models=models, default_model=default)
    parts = find_parts(repository, settings.served_models)
    assert {part.partition(".")[0] for part in parts} == served
    assert len(parts) == len({*parts})
