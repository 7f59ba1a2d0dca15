"""`circumplex up` as a process: what it starts it ends, however it ends itself."""

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

from service.embedded.stack import as_environment, stand_apart
from service.settings import Settings


def wait_until(holds: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.1)


@pytest.fixture
def settings(triton_dir: Path, mini_repository: Path, tmp_path: Path) -> Settings:
    """Settings of a stack of its own, whose state outlives one run."""
    shared = Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        model_repository=mini_repository,
    )
    return stand_apart(shared, tmp_path / "state")


@contextmanager
def running(settings: Settings) -> Generator[subprocess.Popen[str]]:
    """A running `circumplex up` that has said so."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "up"],
        env=os.environ | as_environment(settings),
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
def up(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    with running(settings) as process:
        yield process


def family(process: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    """The parts by what is in their command line; Triton's own children too."""
    found = psutil.Process(process.pid).children(recursive=True)
    names = ("redis-server", "tritonserver", "worker", "gateway", "triton_python_backend_stub")
    family = {name: part for part in found for name in names if name in " ".join(part.cmdline())}
    assert family.keys() == set(names)
    return family


def living(parts: dict[str, psutil.Process]) -> list[str]:
    """The names of the parts that have not ended."""
    return [name for name, part in parts.items() if is_alive(part)]


def is_alive(part: psutil.Process) -> bool:
    try:
        return part.is_running() and part.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for_end(parts: dict[str, psutil.Process], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while left := living(parts):
        assert time.monotonic() < end, f"still there after {seconds:.0f} s: {', '.join(left)}"
        time.sleep(0.1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stack_that_is_told_to_stop_ends_every_part_and_exits_cleanly(
    up: subprocess.Popen[str], number: signal.Signals
) -> None:
    parts = family(up)
    up.send_signal(number)
    assert up.wait(timeout=60) == 0
    assert not living(parts)


def test_stack_that_is_killed_takes_every_part_with_it(up: subprocess.Popen[str]) -> None:
    parts = family(up)
    up.kill()
    wait_for_end(parts, seconds=60)


@pytest.mark.parametrize(
    ("victim", "name"),
    [("worker", "worker"), ("triton_python_backend_stub", "Triton"), ("redis-server", "Redis")],
)
def test_part_that_dies_is_named_and_ends_the_stack(
    up: subprocess.Popen[str], victim: str, name: str
) -> None:
    parts = family(up)
    parts[victim].kill()
    assert up.wait(timeout=60) == 1
    assert up.stderr is not None
    assert f"{name}: a process ended" in up.stderr.read()
    assert not living(parts)


def test_stack_that_starts_on_a_backlog_outlives_its_decode_children(
    settings: Settings, talking_clip: Path
) -> None:
    """Decode children come and go while the gateway starts: none of them is a part."""
    address = f"http://{settings.host}:{settings.http_port}"
    with running(settings) as first, Client(address) as client:
        parts = family(first)
        jobs = [client.submit(talking_clip).id for _ in range(8)]
        first.kill()
        wait_for_end(parts, seconds=60)
    with running(settings) as second, Client(address) as client:
        for job in jobs:
            client.wait(job, timeout_seconds=120)
        time.sleep(2)  # longer than the stack takes to look at every part
        assert second.poll() is None


def test_stack_that_is_killed_ends_in_time_though_triton_hangs(
    settings: Settings, talking_clip: Path
) -> None:
    settings = settings.model_copy(update={"drain_seconds": 2.0})
    address = f"http://{settings.host}:{settings.http_port}"
    with running(settings) as stack, Client(address) as client:
        parts = family(stack)
        triton = parts["tritonserver"]
        client.wait(client.submit(talking_clip).id, timeout_seconds=120)  # now they share memory
        triton.suspend()
        try:
            client.submit(talking_clip)
            stack.kill()
            ours = {name: parts[name] for name in ("worker", "gateway")}
            wait_for_end(ours, seconds=settings.drain_seconds + 30)
        finally:
            triton.resume()
        wait_for_end(parts, seconds=60)


def triton_memory(stack: int) -> set[Path]:
    """What the Triton of a stack shares with its models; the stack is a process's id."""
    return set(Path("/dev/shm").glob(f"circumplex-triton-{stack}-*"))


def test_stack_that_is_interrupted_while_triton_starts_leaves_no_shared_memory(
    settings: Settings,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "up"],
        env=os.environ | as_environment(settings),
        start_new_session=True,
    )
    wait_until(lambda: bool(triton_memory(process.pid)), seconds=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert not triton_memory(process.pid)
