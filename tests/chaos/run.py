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
from tests.chaos.clips import Clip
from tests.chaos.crowd import ANSWER_SECONDS, Accepted, Crowd, Ending, Order, read_ending
from tests.chaos.killer import Killer, schedule
from tests.chaos.parts import RESTART_SECONDS, Supervisor
from tests.chaos.recipes import Crew, Ground, hire, lay_ground
from tests.chaos.report import summarise
from tests.chaos.trail import read_trails
from tests.fuzz.leaks import stray_files

READY_SECONDS: Final = 240.0
CALM_SECONDS: Final = 180.0
"""What the service gets without a kill to end what is left."""
REFERENCE_SECONDS: Final = 120.0
_SAY_SECONDS: Final = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
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
def open_ground(
    settings: Settings, folder: Path, say: Say, *, redis_away_seconds: float = RESTART_SECONDS
) -> Iterator[tuple[Ground, Supervisor]]:
    """Redis and Triton, ready."""
    say("starting Redis and Triton ...")
    with (
        lay_ground(settings, folder, redis_away_seconds=redis_away_seconds) as ground,
        Supervisor(ground.recipes, folder / "logs") as below,
    ):
        below.wait_until_ready(READY_SECONDS)
        yield ground, below


def make_orders(clips: Sequence[Clip], plan: Plan) -> list[Order]:
    """So many submissions of clips in any order, all of them about equally often."""
    rng = Random(plan.seed)
    chosen = [clips[number % len(clips)] for number in range(plan.jobs)]
    rng.shuffle(chosen)
    return [
        Order(
            number=number,
            key=f"chaos-{plan.seed}-{number}",
            clip=clip,
            is_slow=plan.slow_every > 0 and number % plan.slow_every == 0,
        )
        for number, clip in enumerate(chosen)
    ]


def learn(clips: Sequence[Clip], crew: Crew) -> Mapping[str, Ending]:
    """What the calm service makes of each clip; raises ValueError if it is not what it should."""
    orders = [Order(number=n, key=f"reference-{n}", clip=clip) for n, clip in enumerate(clips)]
    with Crowd(crew.addresses, orders, submitters=1, at_once=1) as crowd:
        if not crowd.wait(REFERENCE_SECONDS):
            raise ValueError(f"the calm service did not end every clip: {crowd.notes}")
    accepted = crowd.notes.accepted.values()
    endings = read_endings(accepted, crew)
    expected = {each.order.clip.name: endings[each.job_id] for each in accepted}
    for clip in clips:
        ending = expected[clip.name]
        is_right = ending.error_code == clip.error_code
        if not is_right or (clip.error_code is None and not ending.result):
            raise ValueError(f"{clip.name} came to {ending.state} ({ending.error_code})")
    return expected


def read_endings(accepted: Any, crew: Crew) -> dict[str, Ending]:
    """How each job stands now."""
    with httpx.Client(timeout=ANSWER_SECONDS) as http:
        return {each.job_id: read_ending(each.job_id, crew.addresses, http) for each in accepted}


def run_chaos(
    plan: Plan, clips: Sequence[Clip], ground: Ground, below: Supervisor, say: Say
) -> dict[str, Any]:
    """Kill while every order is worked on; returns the report."""
    crew = hire(ground.settings, gateways=plan.gateways, workers=plan.workers)
    logs_dir = ground.settings.state_dir / "logs"
    with Supervisor(crew.recipes, logs_dir) as above:
        above.wait_until_ready(READY_SECONDS)
        say("learning what each clip comes to ...")
        expected = learn(clips, crew)
        earlier = set(read_trails(ground.settings))
        crowd = Crowd(
            crew.addresses,
            make_orders(clips, plan),
            submitters=plan.submitters,
            at_once=plan.at_once,
            spread_seconds=plan.spread_seconds,
        )
        parts = (*below.parts, *above.parts)
        kills = islice(schedule(plan.seed, plan.kill_seconds), plan.max_kills)
        killer = Killer(parts, kills, seed=plan.seed)
        began = time.monotonic()
        with crowd:
            with killer:
                crowd.wait(plan.deadline_seconds, on_look=_Talk(crowd, killer, say))
            for supervisor in (below, above):
                supervisor.wait_until_ready(READY_SECONDS)
            crowd.wait(CALM_SECONDS, on_look=_Talk(crowd, killer, say))
        seconds = time.monotonic() - began
        say("auditing ...")
        trails = read_trails(ground.settings)
        accepted: Sequence[Accepted] = list(crowd.notes.accepted.values())
        evidence = Evidence(
            accepted=accepted,
            final=crowd.notes.final,
            expected=expected,
            endings=read_endings(accepted, crew),
            trails={job_id: trails[job_id] for job_id in trails.keys() - earlier},
            kills=killer.kills,
        )
    summary = summarise(evidence, audit(evidence), crowd.notes, orders=plan.jobs)
    return summary | {
        "seed": plan.seed,
        "seconds": round(seconds, 1),
        "jobs_per_second": round(plan.jobs / seconds, 2),
        "settings": asdict(plan) | {"lease_seconds": ground.settings.lease_seconds},
        "orphans": killer.orphans,
        "ended_alone": [*below.ended_alone, *above.ended_alone],
        "stray_files": stray_files(ground.settings.store_dir, set(trails)),
        "stopped_badly": above.stopped_badly,
        "starts": {part.recipe.name: part.starts for part in parts},
    }


class _Talk:
    """Says how far a run is, every few seconds."""

    def __init__(self, crowd: Crowd, killer: Killer, say: Say) -> None:
        self._crowd, self._killer, self._say = crowd, killer, say
        self._began = time.monotonic()
        self._due = self._began + _SAY_SECONDS

    def __call__(self) -> None:
        self._killer.look()
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _SAY_SECONDS
        notes, kills = self._crowd.notes, self._killer.kills
        last = f", the last {kills[-1].name}" if kills else ""
        self._say(
            f"{now - self._began:5.0f} s: {len(notes.accepted)} accepted, {len(notes.final)} ended"
            f" of {self._crowd.orders}; {len(kills)} kills{last}"
        )
