"""A run: a stack of its own, clients that want every clip done, and somebody who kills."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from service.settings import Settings
from tests.chaos.audit import Evidence, audit
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
from tests.chaos.short_clips import ChaosClip
from tests.chaos.supervisor import RESTART_DELAY_SECONDS, Supervisor
from tests.fuzz.leaks import find_stray_files

READY_TIMEOUT_SECONDS: Final = 240.0
RECOVERY_TIMEOUT_SECONDS: Final = 180.0
"""What the service gets without a kill to end what is left."""
REFERENCE_TIMEOUT_SECONDS: Final = 120.0
_PROGRESS_SECONDS: Final = 5.0

Log = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """What is done. kill_seconds: from one kill to the next, on average.

    at_once: jobs open at a time. spread_seconds: what submissions are spread over, at least.
    slow_every: one submission in so many comes slowly; 0: none.
    max_kills, deadline_seconds: when killing ends, whatever is left.
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
) -> Iterator[tuple[BackendSpecs, Supervisor]]:
    """Redis and Triton, ready."""
    log("starting Redis and Triton ...")
    with (
        prepare_backends(settings, folder, redis_away_seconds=redis_away_seconds) as ground,
        Supervisor(ground.specs, folder / "logs") as below,
    ):
        below.wait_until_ready(READY_TIMEOUT_SECONDS)
        yield ground, below


def plan_submissions(clips: Sequence[ChaosClip], plan: ChaosPlan) -> list[PlannedSubmission]:
    """So many submissions of clips in any order, all of them about equally often."""
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
    """What the calm service makes of each clip; raises ValueError if it is not what it should."""
    orders = [
        PlannedSubmission(number=n, key=f"reference-{n}", clip=clip) for n, clip in enumerate(clips)
    ]
    with LoadGenerator(services.addresses, orders, submitters=1, at_once=1) as crowd:
        if not crowd.wait(REFERENCE_TIMEOUT_SECONDS):
            raise ValueError(f"the calm service did not end every clip: {crowd.log}")
    accepted = crowd.log.accepted.values()
    endings = fetch_outcomes(accepted, services)
    expected = {each.submission.clip.name: endings[each.job_id] for each in accepted}
    for clip in clips:
        ending = expected[clip.name]
        is_right = ending.error_code == clip.error_code
        if not is_right or (clip.error_code is None and not ending.result):
            raise ValueError(f"{clip.name} came to {ending.state} ({ending.error_code})")
    return expected


def fetch_outcomes(accepted: Any, services: ServiceSpecs) -> dict[str, JobOutcome]:
    """How each job stands now."""
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
    """Kill while every order is worked on; returns the report."""
    crew = make_service_specs(backends.settings, gateways=plan.gateways, workers=plan.workers)
    logs_dir = backends.settings.state_dir / "logs"
    with Supervisor(crew.specs, logs_dir) as above:
        above.wait_until_ready(READY_TIMEOUT_SECONDS)
        log("learning what each clip comes to ...")
        expected = run_reference(clips, crew)
        earlier = set(read_histories(backends.settings))
        crowd = LoadGenerator(
            crew.addresses,
            plan_submissions(clips, plan),
            submitters=plan.submitters,
            at_once=plan.at_once,
            spread_seconds=plan.spread_seconds,
        )
        parts = (*backend_supervisor.processes, *above.processes)
        kills = islice(make_kill_schedule(plan.seed, plan.kill_seconds), plan.max_kills)
        killer = Killer(parts, kills, seed=plan.seed)
        began = time.monotonic()
        with crowd:
            with killer:
                crowd.wait(plan.deadline_seconds, on_poll=_ProgressLogger(crowd, killer, log))
            for supervisor in (backend_supervisor, above):
                supervisor.wait_until_ready(READY_TIMEOUT_SECONDS)
            crowd.wait(RECOVERY_TIMEOUT_SECONDS, on_poll=_ProgressLogger(crowd, killer, log))
        seconds = time.monotonic() - began
        log("auditing ...")
        trails = read_histories(backends.settings)
        accepted: Sequence[AcceptedSubmission] = list(crowd.log.accepted.values())
        evidence = Evidence(
            accepted=accepted,
            first_final_states=crowd.log.first_final_states,
            expected=expected,
            outcomes=fetch_outcomes(accepted, crew),
            histories={job_id: trails[job_id] for job_id in trails.keys() - earlier},
            kills=killer.kills,
        )
    summary = summarise(evidence, audit(evidence), crowd.log, submission_count=plan.jobs)
    return summary | {
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "jobs_per_second": round(plan.jobs / seconds, 2),
        "settings": asdict(plan) | {"lease_seconds": backends.settings.lease_seconds},
        "orphans": killer.orphans,
        "ended_alone": [*backend_supervisor.unexpected_exits, *above.unexpected_exits],
        "stray_files": find_stray_files(backends.settings.store_dir, set(trails)),
        "stopped_badly": above.force_killed,
        "starts": {part.spec.name: part.start_count for part in parts},
    }


class _ProgressLogger:
    """Says how far a run is, every few seconds."""

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
        notes, kills = self._load.log, self._killer.kills
        last = f", the last {kills[-1].name}" if kills else ""
        self._log(
            f"{now - self._began:5.0f} s: {len(notes.accepted)} accepted, "
            f"{len(notes.first_final_states)} ended"
            f" of {self._load.submission_count}; {len(kills)} kills{last}"
        )
