"""Chaos run: a stack, clients that submit clips to it, and a killer of its processes.

LoadGenerator ──▶ gateways ──▶ Redis ◀── workers ──▶ Triton
              Killer: SIGKILL to any of them; Supervisor: restart
afterwards: outcomes + job histories ──audit──▶ report
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from service.settings import Settings
from tests.chaos.audit import Evidence, audit
from tests.chaos.clips import ChaosClip
from tests.chaos.job_history import read_histories
from tests.chaos.killer import Killer, make_kill_schedule
from tests.chaos.load_generator import (
    RESPONSE_TIMEOUT_SECONDS,
    AcceptedSubmission,
    JobOutcome,
    LoadGenerator,
    PlannedSubmission,
    fetch_outcome,
)
from tests.chaos.process_specs import (
    BackendSpecs,
    ServiceSpecs,
    make_service_specs,
    prepare_backends,
)
from tests.chaos.report import summarise
from tests.chaos.supervisor import RESTART_DELAY_SECONDS, Supervisor
from tests.fuzz.leaks import find_stray_files

READY_TIMEOUT_SECONDS: Final = 240.0
RECOVERY_TIMEOUT_SECONDS: Final = 180.0
"""Time without kills that the service gets to end the remaining jobs."""
REFERENCE_TIMEOUT_SECONDS: Final = 120.0
_PROGRESS_SECONDS: Final = 5.0

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """Parameters of a run. kill_seconds: mean interval between kills.

    at_once: maximum of open jobs. spread_seconds: minimum time over which submissions are spread.
    slow_every: one submission in so many is slow; 0: none.
    max_kills, deadline_seconds: limits after which nothing is killed any more.
    """

    jobs: int = 1000
    seed: int = 1
    kill_seconds: float = 3.0
    gateways: int = 2
    workers: int = 3
    submitters: int = 6
    at_once: int = 48
    spread_seconds: float = 0.0
    slow_every: int = 5
    max_kills: int | None = None
    deadline_seconds: float = 3600.0


@contextmanager
def running_backends(
    settings: Settings, folder: Path, log: Log, *, redis_away_seconds: float = RESTART_DELAY_SECONDS
) -> Generator[tuple[BackendSpecs, Supervisor]]:
    """Start Redis and Triton and wait until they are ready."""
    log("starting Redis and Triton ...")
    with (
        prepare_backends(settings, folder, redis_away_seconds=redis_away_seconds) as backends,
        Supervisor(backends.specs, folder / "logs") as supervisor,
    ):
        supervisor.wait_until_ready(READY_TIMEOUT_SECONDS)
        yield backends, supervisor


def plan_submissions(clips: Sequence[ChaosClip], plan: ChaosPlan) -> list[PlannedSubmission]:
    """Plan submissions in random order, with about the same number of each clip."""
    rng = Random(plan.seed)
    chosen = [clips[number % len(clips)] for number in range(plan.jobs)]
    rng.shuffle(chosen)
    return [
        PlannedSubmission(
            number=number,
            key=f"chaos-{plan.seed}-{number}",
            clip=clip,
            is_slow=plan.slow_every > 0 and number % plan.slow_every == 0,
        )
        for number, clip in enumerate(chosen)
    ]


def run_reference(clips: Sequence[ChaosClip], services: ServiceSpecs) -> Mapping[str, JobOutcome]:
    """Process each clip once without kills; raises ValueError for an unexpected outcome."""
    submissions = [
        PlannedSubmission(number=n, key=f"reference-{n}", clip=clip) for n, clip in enumerate(clips)
    ]
    with LoadGenerator(services.addresses, submissions, submitters=1, at_once=1) as load:
        if not load.wait(REFERENCE_TIMEOUT_SECONDS):
            raise ValueError(f"not every reference job has ended: {load.log}")
    accepted = load.log.accepted.values()
    outcomes = fetch_outcomes(accepted, services)
    expected = {each.submission.clip.name: outcomes[each.job_id] for each in accepted}
    for clip in clips:
        outcome = expected[clip.name]
        is_expected = outcome.error_code == clip.error_code
        if not is_expected or (clip.error_code is None and not outcome.result):
            raise ValueError(f"{clip.name}: {outcome.state} ({outcome.error_code})")
    return expected


def fetch_outcomes(
    accepted: Iterable[AcceptedSubmission], services: ServiceSpecs
) -> dict[str, JobOutcome]:
    """Fetch the outcome of each job, by its id."""
    with httpx.Client(timeout=RESPONSE_TIMEOUT_SECONDS) as http:
        return {
            each.job_id: fetch_outcome(each.job_id, services.addresses, http) for each in accepted
        }


def run_chaos(
    plan: ChaosPlan,
    clips: Sequence[ChaosClip],
    backends: BackendSpecs,
    backend_supervisor: Supervisor,
    log: Log,
) -> dict[str, Any]:
    """Kill processes while the jobs are processed; returns the report."""
    services = make_service_specs(backends.settings, gateways=plan.gateways, workers=plan.workers)
    logs_dir = backends.settings.state_dir / "logs"
    with Supervisor(services.specs, logs_dir) as supervisor:
        supervisor.wait_until_ready(READY_TIMEOUT_SECONDS)
        log("processing each clip without kills ...")
        expected = run_reference(clips, services)
        earlier = set(read_histories(backends.settings))
        load = LoadGenerator(
            services.addresses,
            plan_submissions(clips, plan),
            submitters=plan.submitters,
            at_once=plan.at_once,
            spread_seconds=plan.spread_seconds,
        )
        processes = (*backend_supervisor.processes, *supervisor.processes)
        kills = islice(make_kill_schedule(plan.seed, plan.kill_seconds), plan.max_kills)
        killer = Killer(processes, kills, seed=plan.seed)
        seconds = _run_load(plan, load, killer, (backend_supervisor, supervisor), log)
        log("auditing ...")
        evidence = _collect_evidence(backends, services, load, killer, expected, earlier)
    summary = summarise(evidence, audit(evidence), load.log, submission_count=plan.jobs)
    return summary | {
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "jobs_per_second": round(plan.jobs / seconds, 2),
        "settings": asdict(plan) | {"lease_seconds": backends.settings.lease_seconds},
        "orphans": killer.orphans,
        "ended_alone": [*backend_supervisor.unexpected_exits, *supervisor.unexpected_exits],
        "stray_files": find_stray_files(
            backends.settings.store_dir, earlier | evidence.histories.keys()
        ),
        "stopped_badly": supervisor.force_killed,
        "starts": {each.spec.name: each.start_count for each in processes},
    }


def _collect_evidence(
    backends: BackendSpecs,
    services: ServiceSpecs,
    load: LoadGenerator,
    killer: Killer,
    expected: Mapping[str, JobOutcome],
    earlier: set[str],
) -> Evidence:
    """Collect what the audit compares. earlier: ids of jobs that the run did not submit."""
    histories = read_histories(backends.settings)
    accepted = list(load.log.accepted.values())
    return Evidence(
        accepted=accepted,
        first_final_states=load.log.first_final_states,
        expected=expected,
        outcomes=fetch_outcomes(accepted, services),
        histories={job_id: histories[job_id] for job_id in histories.keys() - earlier},
        kills=killer.kills,
    )


def _run_load(
    plan: ChaosPlan,
    load: LoadGenerator,
    killer: Killer,
    supervisors: Sequence[Supervisor],
    log: Log,
) -> float:
    """Kill until the load is done or the plan's limits are reached; returns the duration.

    Jobs that are left then get RECOVERY_TIMEOUT_SECONDS without kills.
    """
    began = time.monotonic()
    with load:
        with killer:
            load.wait(plan.deadline_seconds, on_poll=_ProgressLogger(load, killer, log))
        for each in supervisors:
            each.wait_until_ready(READY_TIMEOUT_SECONDS)
        load.wait(RECOVERY_TIMEOUT_SECONDS, on_poll=_ProgressLogger(load, killer, log))
    return time.monotonic() - began


class _ProgressLogger:
    """Logs the progress of a run every few seconds."""

    def __init__(self, load: LoadGenerator, killer: Killer, log: Log) -> None:
        self._load, self._killer, self._log = load, killer, log
        self._began = time.monotonic()
        self._due = self._began + _PROGRESS_SECONDS

    def __call__(self) -> None:
        self._killer.raise_if_failed()
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _PROGRESS_SECONDS
        client_log, kills = self._load.log, self._killer.kills
        last = f", the last {kills[-1].name}" if kills else ""
        self._log(
            f"{now - self._began:5.0f} s: {len(client_log.accepted)} accepted, "
            f"{len(client_log.first_final_states)} ended"
            f" of {self._load.submission_count}; {len(kills)} kills{last}"
        )
