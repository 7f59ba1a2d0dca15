"""Jobs that take many leases: each is started once, whatever its clip does to the decoder."""

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
from tests.chaos.hard_clips import make_large, make_memory_hungry, make_slow_to_open
from tests.chaos.job_history import JobHistory, read_histories
from tests.chaos.killer import find_decode_children
from tests.chaos.process_specs import BackendSpecs, make_service_specs
from tests.chaos.supervisor import ProcessKind, SupervisedProcess, Supervisor

LEASE_SECONDS: Final = 1.0
MIN_LEASES: Final = 10
"""A long job takes at least so many."""
WORKER_SETTINGS: Final[Mapping[str, Any]] = {
    "lease_seconds": LEASE_SECONDS,
    "worker_concurrency": 2,
    "decode_stall_seconds": 240.0,
    "decode_cpu_seconds": 120,
}
_READY_TIMEOUT_SECONDS: Final = 120.0
_CHILD_TIMEOUT_SECONDS: Final = 60.0
_JOB_TIMEOUT_SECONDS: Final = 300.0
_CHILD_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class LongJobCase:
    """A clip and how its job has to end. meddle: what is done to the child that decodes it."""

    name: str
    clip: Path
    error_code: str | None = None
    fault: Callable[[psutil.Process], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LongJobRound:
    """Cases that one worker has in hand together. limits: settings of it."""

    cases: tuple[LongJobCase, ...]
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def make_rounds(folder: Path, *, frames: int = 120, tags: int = 32_000) -> Iterator[LongJobRound]:
    """Everything that a clip may do to its decoder, two at a time."""
    seconds = MIN_LEASES * LEASE_SECONDS
    large = make_large(folder / "large.mov", frames=frames)
    slow = make_slow_to_open(folder / "slow.mp4", tags=tags)
    greedy = make_memory_hungry(folder / "greedy.mov")
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
                name="stalls", clip=large, error_code="decoder_timed_out", fault=PauseFault(None)
            ),
        ),
        settings={"decode_cpu_seconds": 4, "decode_stall_seconds": seconds},
    )
    yield LongJobRound(
        cases=(
            LongJobCase(name="eats memory", clip=greedy, error_code="decoder_out_of_memory"),
            LongJobCase(
                name="crashes", clip=slow, error_code="decoder_crashed", fault=CrashFault(seconds)
            ),
        ),
        settings={"decode_memory_bytes": 2**28},
    )


@dataclass(frozen=True, slots=True)
class PauseFault:
    """Has a child stand still for so long; None: for good."""

    seconds: float | None

    def __call__(self, child: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            child.suspend()
            if self.seconds is not None:
                time.sleep(self.seconds)
                child.resume()


@dataclass(frozen=True, slots=True)
class CrashFault:
    """Has a child stand still for so long, and then end as by a fault of its own."""

    seconds: float

    def __call__(self, child: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            child.suspend()
            time.sleep(self.seconds)
            child.send_signal(signal.SIGSEGV)
            child.resume()


def run_long_jobs(
    rounds: Iterable[LongJobRound], backends: BackendSpecs, log: Callable[[str], None]
) -> dict[str, Any]:
    """Work on each round with a lease of a second; returns the report."""
    jobs: list[dict[str, Any]] = []
    for number, each in enumerate(rounds, start=1):
        log(f"long jobs: {', '.join(case.name for case in each.cases)} ...")
        limits = {**WORKER_SETTINGS, **each.settings, "queue_name": f"long-{number}"}
        jobs += _run_round(each.cases, backends.settings.model_copy(update=limits))
    return {
        "lease_seconds": LEASE_SECONDS,
        "started_again": sum(job["starts"] != 1 for job in jobs),
        "ended_otherwise": sum(job["error_code"] != job["expected"] for job in jobs),
        "jobs": jobs,
    }


def _run_round(cases: Sequence[LongJobCase], settings: Settings) -> list[dict[str, Any]]:
    crew = make_service_specs(settings, gateways=1, workers=1)
    logs_dir = settings.state_dir / "logs" / settings.queue_name
    with (
        Supervisor(crew.specs, logs_dir) as above,
        Client(crew.addresses[0]) as client,
        ThreadPoolExecutor(len(cases)) as threads,
    ):
        above.wait_until_ready(_READY_TIMEOUT_SECONDS)
        (worker,) = (part for part in above.processes if part.spec.kind is ProcessKind.WORKER)
        meddling: list[Future[None]] = []
        jobs: dict[str, LongJobCase] = {}
        for case in cases:
            there = find_decode_children(worker)
            jobs[client.submit(case.clip).id] = case
            child = _wait_for_child(worker, there)
            if case.fault is not None:
                meddling.append(threads.submit(case.fault, child))
        _wait_for_ends(client, jobs)
        for each in meddling:
            each.result()
    trails = read_histories(settings)
    return [_make_report_entry(case, trails[job_id]) for job_id, case in jobs.items()]


def _wait_for_child(worker: SupervisedProcess, known: set[psutil.Process]) -> psutil.Process:
    """The child that has come; raises TimeoutError."""
    end = time.monotonic() + _CHILD_TIMEOUT_SECONDS
    while time.monotonic() < end:
        for child in find_decode_children(worker) - known:
            return child
        time.sleep(_CHILD_POLL_SECONDS)
    raise TimeoutError("nobody began to decode")


def _wait_for_ends(client: Client, jobs: Iterable[str]) -> None:
    """Raises TimeoutError: a job has not ended."""
    end = time.monotonic() + _JOB_TIMEOUT_SECONDS
    for job_id in jobs:
        while not client.job(job_id).is_final:
            if time.monotonic() > end:
                raise TimeoutError(f"job {job_id} has not ended")
            time.sleep(0.2)


def _make_report_entry(case: LongJobCase, trail: JobHistory) -> dict[str, Any]:
    """A long job's line in the report. starts: attempts by the events, and by the record."""
    attempts = trail.list_attempts()
    seconds = trail.events[-1].epoch_seconds - attempts[0].started
    return {
        "name": case.name,
        "starts": max(len(attempts), int(trail.record["attempt"])),
        "seconds": round(seconds, 1),
        "leases": round(seconds / LEASE_SECONDS, 1),
        "state": trail.record["state"],
        "error_code": trail.record.get("error_code"),
        "expected": case.error_code,
    }
