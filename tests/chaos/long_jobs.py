"""Jobs that last many leases, with slow, suspended or crashing decoders: each must start once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil
from circumplex_client import Client

from service.settings import Settings
from tests.chaos.clips import make_large, make_memory_hungry, make_slow_to_open
from tests.chaos.job_history import JobHistory, read_histories
from tests.chaos.killer import find_decode_processes
from tests.chaos.process_specs import BackendSpecs, make_service_specs
from tests.chaos.supervisor import ProcessKind, SupervisedProcess, Supervisor

LEASE_SECONDS: Final = 1.0
MIN_LEASES: Final = 10
"""Minimum duration of a long job, in leases."""
WORKER_SETTINGS: Final[Mapping[str, Any]] = {
    "lease_seconds": LEASE_SECONDS,
    "worker_concurrency": 2,
    "decode_stall_seconds": 240.0,
    "decode_cpu_seconds": 120,
    "decode_cpu_base_seconds": 120.0,
}
_READY_TIMEOUT_SECONDS: Final = 120.0
_DECODER_TIMEOUT_SECONDS: Final = 60.0
_JOB_TIMEOUT_SECONDS: Final = 300.0
_DECODER_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LongJobCase:
    """Clip, expected error of its job, and the fault to inject in its decode process."""

    name: str
    clip: Path
    error_code: str | None = None
    fault: Callable[[psutil.Process], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongJobRound:
    """Cases that one worker processes at a time, and settings of that worker."""

    cases: tuple[LongJobCase, ...]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def make_rounds(folder: Path, *, frames: int = 120, tags: int = 32_000) -> Iterator[LongJobRound]:
    """Make all cases, two in a round."""
    seconds = MIN_LEASES * LEASE_SECONDS
    large = make_large(folder / "large.mov", frames=frames)
    slow = make_slow_to_open(folder / "slow.mp4", tags=tags)
    memory_hungry = make_memory_hungry(folder / "memory_hungry.mov")
    yield LongJobRound(
        cases=(LongJobCase(name="large", clip=large), LongJobCase(name="large too", clip=large))
    )
    yield LongJobRound(
        cases=(
            LongJobCase(name="slow to open", clip=slow),
            LongJobCase(name="pauses", clip=large, fault=PauseFault(seconds)),
        )
    )
    yield LongJobRound(
        cases=(
            LongJobCase(name="spins", clip=slow, error_code="decoder_timed_out"),
            LongJobCase(
                name="stalls", clip=large, error_code="decoder_stalled", fault=PauseFault(None)
            ),
        ),
        settings={"decode_cpu_seconds": 4, "decode_stall_seconds": seconds, "max_attempts": 1},
    )
    yield LongJobRound(
        cases=(
            LongJobCase(
                name="exceeds memory", clip=memory_hungry, error_code="decoder_out_of_memory"
            ),
            LongJobCase(
                name="crashes", clip=slow, error_code="decoder_crashed", fault=CrashFault(seconds)
            ),
        ),
        settings={"decode_memory_bytes": 2**28},
    )


@dataclass(frozen=True, slots=True)
class PauseFault:
    """Suspends a decode process for a time; None: forever."""

    seconds: float | None

    def __call__(self, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            if self.seconds is not None:
                time.sleep(self.seconds)
                process.resume()


@dataclass(frozen=True, slots=True)
class CrashFault:
    """Suspends a decode process for a time, then makes it crash."""

    seconds: float

    def __call__(self, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
            time.sleep(self.seconds)
            process.send_signal(signal.SIGSEGV)
            process.resume()


def run_long_jobs(
    rounds: Iterable[LongJobRound], backends: BackendSpecs, log: Callable[[str], None]
) -> dict[str, Any]:
    """Run all rounds with a lease of one second; returns their report."""
    jobs: list[dict[str, Any]] = []
    for number, each in enumerate(rounds, start=1):
        log(f"long jobs: {', '.join(case.name for case in each.cases)} ...")
        update = {**WORKER_SETTINGS, **each.settings, "queue_name": f"long-{number}"}
        jobs += _run_round(each.cases, backends.settings.model_copy(update=update))
    return {
        "lease_seconds": LEASE_SECONDS,
        "started_again": sum(job["starts"] != 1 for job in jobs),
        "ended_otherwise": sum(job["error_code"] != job["expected"] for job in jobs),
        "jobs": jobs,
    }


def _run_round(cases: Sequence[LongJobCase], settings: Settings) -> list[dict[str, Any]]:
    services = make_service_specs(settings, gateways=1, workers=1)
    logs_dir = settings.state_dir / "logs" / settings.queue_name
    with (
        Supervisor(services.specs, logs_dir) as supervisor,
        Client(services.addresses[0]) as client,
        ThreadPoolExecutor(len(cases)) as threads,
    ):
        supervisor.wait_until_ready(_READY_TIMEOUT_SECONDS)
        (worker,) = (each for each in supervisor.processes if each.spec.kind is ProcessKind.WORKER)
        faults: list[Future[None]] = []
        jobs: dict[str, LongJobCase] = {}
        for case in cases:
            earlier = find_decode_processes(worker)
            jobs[client.submit(case.clip).id] = case
            decoder = _wait_for_decoder(worker, earlier)
            if case.fault is not None:
                faults.append(threads.submit(case.fault, decoder))
        _wait_for_ends(client, jobs)
        for each in faults:
            each.result()
    histories = read_histories(settings)
    return [_make_report_entry(case, histories[job_id]) for job_id, case in jobs.items()]


def _wait_for_decoder(worker: SupervisedProcess, known: set[psutil.Process]) -> psutil.Process:
    """Wait for a new decode process; raises TimeoutError."""
    end = time.monotonic() + _DECODER_TIMEOUT_SECONDS
    while time.monotonic() < end:
        for process in find_decode_processes(worker) - known:
            return process
        time.sleep(_DECODER_POLL_SECONDS)
    raise TimeoutError("no decode process has started")


def _wait_for_ends(client: Client, jobs: Iterable[str]) -> None:
    """Wait until all jobs have ended; raises TimeoutError."""
    end = time.monotonic() + _JOB_TIMEOUT_SECONDS
    for job_id in jobs:
        while not client.job(job_id).is_final:
            if time.monotonic() > end:
                raise TimeoutError(f"job {job_id} has not ended")
            time.sleep(0.2)


def _make_report_entry(case: LongJobCase, history: JobHistory) -> dict[str, Any]:
    """Make the report of one job. starts: larger of the attempts in events and record."""
    attempts = history.list_attempts()
    seconds = history.events[-1].epoch_seconds - attempts[0].started
    return {
        "name": case.name,
        "starts": max(len(attempts), int(history.record["attempt"])),
        "seconds": round(seconds, 1),
        "leases": round(seconds / LEASE_SECONDS, 1),
        "state": history.record["state"],
        "error_code": history.record.get("error_code"),
        "expected": case.error_code,
    }
