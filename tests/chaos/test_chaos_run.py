"""Tests of a short chaos run with a stack of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import psutil
import pytest

from service.settings import YARDSTICK, Settings
from tests.chaos.clips import ChaosClip, make_clips
from tests.chaos.long_jobs import make_rounds, run_long_jobs
from tests.chaos.process_specs import BackendSpecs
from tests.chaos.report import MAX_REDELIVERY_SECONDS, has_passed
from tests.chaos.run import ChaosPlan, run_chaos, running_backends
from tests.chaos.supervisor import ProcessKind, Supervisor, is_alive
from tests.fuzz.leaks import find_leaked_shared_memory, list_shared_memory

PLAN = ChaosPlan(
    jobs=48,
    seed=3,
    kill_seconds=2.0,
    workers=2,
    gateways=1,
    max_kills=8,
    spread_seconds=15.0,
    slow_every=0,
)
"""Eight kills: one of each kind, then by weight. No upload is slow: the idempotency key of one that
is interrupted by a kill stays reserved for 20 s.
"""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def settings(triton_dir: Path, mini_repository: Path) -> Settings:
    return Settings(
        runtime_dir=triton_dir.parent,
        face_models_dir=triton_dir.parent / "faces",
        models=YARDSTICK,
        model_repository=mini_repository,
    )


@pytest.fixture(scope="module")
def clips() -> tuple[ChaosClip, ...]:
    return make_clips()


def wait_until(condition: Callable[[], bool], *, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition was not met in time"
        time.sleep(0.1)


RunningBackends = tuple[BackendSpecs, Supervisor]


@pytest.fixture(scope="module")
def backends(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningBackends]:
    """Redis and Triton, shared by all tests of this module."""
    folder = tmp_path_factory.mktemp("chaos")
    with running_backends(settings, folder / "state", print) as opened:
        yield opened


def test_jobs_end_once_with_the_right_result_while_processes_are_killed(
    backends: RunningBackends, clips: tuple[ChaosClip, ...]
) -> None:
    before = list_shared_memory()
    summary = run_chaos(PLAN, clips, *backends, print)
    counts = {name: summary[name] for name in ("accepted", "lost", "duplicated", "wrong")}
    expected = {"accepted": PLAN.jobs, "lost": 0, "duplicated": 0, "wrong": 0}
    assert counts == expected, summary["violations"]
    assert has_passed(summary)
    assert summary["redelivery_p99_seconds"] <= MAX_REDELIVERY_SECONDS
    assert min(summary["kills_by_part"].values()) >= 1, "every kind of process was to be killed"
    assert summary["states"] == {"succeeded": 40, "failed": 8}
    assert summary["errors"] == {"clip_truncated": 8}
    assert summary["ended_alone"] == []
    assert summary["orphans"] == []
    wait_until(lambda: find_leaked_shared_memory(before) == [], seconds=30)


def test_long_jobs_start_once_while_their_decode_processes_are_suspended(
    backends: RunningBackends, tmp_path: Path
) -> None:
    specs, _ = backends
    (each,) = islice(make_rounds(tmp_path, frames=30, tags=12_000), 1, 2)
    report = run_long_jobs([each], specs, print)
    assert (report["started_again"], report["ended_otherwise"]) == (0, 0), report
    assert max(job["leases"] for job in report["jobs"]) >= 10


def test_killed_process_is_restarted_and_its_descendants_end(backends: RunningBackends) -> None:
    _, supervisor = backends
    (redis,) = (each for each in supervisor.processes if each.spec.kind is ProcessKind.REDIS)
    starts = redis.start_count
    kill = redis.kill()
    assert kill is not None
    wait_until(lambda: redis.start_count > starts and redis.spec.is_ready(), seconds=30)
    assert not any(map(is_alive, kill.descendants))


def test_interrupted_run_leaves_no_process_and_no_shared_memory(
    settings: Settings, tmp_path: Path
) -> None:
    before = list_shared_memory()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--jobs", "5", "--keep", tmp_path / "state"],
        env=os.environ | {"CIRCUMPLEX_MODEL_REPOSITORY": str(settings.model_repository)},
        start_new_session=True,
    )
    descendants: set[psutil.Process] = set()

    def has_loaded_a_model() -> bool:
        descendants.update(psutil.Process(process.pid).children(recursive=True))
        return any(map(is_model_process, descendants))

    try:
        wait_until(has_loaded_a_model, seconds=120)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) != 0
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(is_alive, descendants)), seconds=30)
    wait_until(lambda: find_leaked_shared_memory(before) == [], seconds=30)


def is_model_process(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return "triton_python_backend_stub" in process.name()
    return False
