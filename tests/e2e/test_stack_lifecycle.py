"""`circumplex up` as a process: whether terminated, killed or interrupted, all its parts end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from circumplex_client import Client

from service.embedded.stack import isolate_settings, settings_to_environment
from service.settings import YARDSTICK, Settings


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true after {seconds:.0f} s"
        time.sleep(0.1)


@pytest.fixture
def settings(triton_dir: Path, mini_repository: Path, tmp_path: Path) -> Settings:
    """Settings of a separate stack, whose state outlives one run."""
    shared = Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        models=YARDSTICK,
        model_repository=mini_repository,
    )
    return isolate_settings(shared, tmp_path / "state")


@contextmanager
def running_stack(settings: Settings) -> Generator[subprocess.Popen[str]]:
    """Run `circumplex up` and wait until it reports that it is up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "up"],
        env=os.environ | settings_to_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert "Circumplex is up" in process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def stack_process(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    with running_stack(settings) as process:
        yield process


def find_stack_processes(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """Find the stack's processes by command line, Triton's own subprocesses included."""
    found = psutil.Process(process.pid).children(recursive=True)
    texts = {
        "worker": "-m service worker",
        "gateway": "-m service gateway",
        **{name: name for name in ("redis-server", "tritonserver", "triton_python_backend_stub")},
    }
    parts = {
        name: part
        for part in found
        for name, text in texts.items()
        if text in " ".join(part.cmdline())
    }
    assert parts.keys() == texts.keys()
    return parts


def list_alive(parts: dict[str, psutil.Process]) -> list[str]:
    """List the names of the parts that have not ended."""
    return [name for name, part in parts.items() if is_alive(part)]


def is_alive(part: psutil.Process) -> bool:
    try:
        return part.is_running() and part.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(parts: dict[str, psutil.Process], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := list_alive(parts):
        assert time.monotonic() < end, f"still there after {seconds:.0f} s: {', '.join(left)}"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_terminated_stack_ends_every_process_and_exits_cleanly(
    stack_process: subprocess.Popen[str], number: signal.Signals
) -> None:
    parts = find_stack_processes(stack_process)
    stack_process.send_signal(number)
    assert stack_process.wait(timeout=60) == 0
    assert not list_alive(parts)


def test_killed_stack_ends_every_process(stack_process: subprocess.Popen[str]) -> None:
    parts = find_stack_processes(stack_process)
    stack_process.kill()
    wait_for_end(parts, seconds=60)


@pytest.mark.parametrize(
    ("victim", "name"),
    [("worker", "worker"), ("triton_python_backend_stub", "Triton"), ("redis-server", "Redis")],
)
def test_process_that_ends_is_reported_and_ends_the_stack(
    stack_process: subprocess.Popen[str], victim: str, name: str
) -> None:
    parts = find_stack_processes(stack_process)
    parts[victim].kill()
    assert stack_process.wait(timeout=60) == 1
    assert stack_process.stderr is not None
    assert f"{name}: a process ended" in stack_process.stderr.read()
    assert not list_alive(parts)


def test_stack_that_starts_on_a_backlog_outlives_its_decode_processes(
    settings: Settings, talking_clip: Path
) -> None:
    """Decode processes that end while the gateway starts are not mistaken for ended parts."""
    address = f"http://{settings.host}:{settings.http_port}"
    with running_stack(settings) as first, Client(address) as client:
        parts = find_stack_processes(first)
        jobs = [client.submit(talking_clip).id for _ in range(8)]
        first.kill()
        wait_for_end(parts, seconds=60)
    with running_stack(settings) as second, Client(address) as client:
        for job in jobs:
            client.wait(job, timeout_seconds=120)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=2)  # longer than the stack takes to check every part


def test_stack_that_is_killed_ends_in_time_though_triton_hangs(
    settings: Settings, talking_clip: Path
) -> None:
    settings = settings.model_copy(update={"drain_seconds": 2.0})
    address = f"http://{settings.host}:{settings.http_port}"
    with running_stack(settings) as stack, Client(address) as client:
        parts = find_stack_processes(stack)
        triton = parts["tritonserver"]
        client.wait(client.submit(talking_clip).id, timeout_seconds=120)  # maps shared memory
        triton.suspend()
        try:
            client.submit(talking_clip)
            stack.kill()
            python_parts = {name: parts[name] for name in ("worker", "gateway")}
            wait_for_end(python_parts, seconds=settings.drain_seconds + 30)
        finally:
            triton.resume()
        wait_for_end(parts, seconds=60)


def list_triton_shared_memory(stack_pid: int) -> set[Path]:
    """List the shared memory of a stack's Triton."""
    return set(Path("/dev/shm").glob(f"circumplex-triton-{stack_pid}-*"))


def test_stack_that_is_interrupted_while_triton_starts_leaves_no_shared_memory(
    settings: Settings,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "up"],
        env=os.environ | settings_to_environment(settings),
        start_new_session=True,
    )
    wait_until(lambda: bool(list_triton_shared_memory(process.pid)), seconds=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not list_triton_shared_memory(process.pid)
