"""Whether the promise was kept: accepted means done once, right, and soon after a kill."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.crowd import Accepted, Ending
from tests.chaos.parts import Kill, Kind
from tests.chaos.reference import differences
from tests.chaos.trail import Attempt, Trail

FINAL: Final = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the audit judges by, collected when nothing is under way any more.

    accepted: what the clients were told; final: the first final state they were told of a job.
    expected: endings by a clip's name; endings and trails: by a job's id.
    """

    accepted: Sequence[Accepted]
    final: Mapping[str, str]
    expected: Mapping[str, Ending]
    endings: Mapping[str, Ending]
    trails: Mapping[str, Trail]
    kills: Sequence[Kill] = ()


@dataclass(slots=True, kw_only=True)
class Findings:
    """What does not hold, a line for each job; and how long each redelivery took, seconds."""

    lost: list[str] = field(default_factory=list[str])
    duplicated: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    lease_seconds: list[float] = field(default_factory=list[float])


def audit(evidence: Evidence) -> Findings:
    """Hold what the clients were told against what there is."""
    found = Findings()
    for accepted in evidence.accepted:
        _judge(accepted, evidence, found)
    found.duplicated += _find_twins(evidence)
    for attempt, kill in _bereaved(evidence):
        after = _next_start(attempt, evidence.trails[attempt.job_id])
        if after is not None:  # else it is lost, was given up, or its last word came just in time
            found.lease_seconds.append(after - kill.moment)
    return found


def _judge(accepted: Accepted, evidence: Evidence, found: Findings) -> None:
    """Sort one job under what is wrong with it, if anything is."""
    job_id = accepted.job_id
    name = f"{accepted.order.key} {job_id} ({accepted.order.clip.name})"
    ending = evidence.endings[job_id]
    if ending.state not in FINAL:
        found.lost.append(f"{name}: {ending.state or 'unknown to the service'}")
        return
    told = evidence.final.get(job_id)
    if told is not None and told != ending.state:
        found.wrong.append(f"{name}: {told} became {ending.state}")
    wrong = differences(evidence.expected[accepted.order.clip.name], ending)
    if wrong:
        found.wrong.append(f"{name}: {'; '.join(wrong)}")
    trail = evidence.trails.get(job_id)
    if trail is not None and trail.publications() > 1:
        found.duplicated.append(f"{name}: published {trail.publications()} times")


def _find_twins(evidence: Evidence) -> Iterator[str]:
    """Jobs beyond one for each order: made by a submission that was sent again."""
    ours = Counter(accepted.job_id for accepted in evidence.accepted)
    yield from (f"{job_id}: given to {count} orders" for job_id, count in ours.items() if count > 1)
    for job_id, trail in evidence.trails.items():
        if job_id not in ours:
            key = trail.record.get("idempotency", "no key")
            yield f"{job_id} ({key}): a job that no client was told of"


def _bereaved(evidence: Evidence) -> Iterator[tuple[Attempt, Kill]]:
    """Attempts whose worker was killed while it held the job, or as it reached for it."""
    host = socket.gethostname()
    deaths = {f"{host}:{kill.pid}": kill for kill in evidence.kills if kill.kind is Kind.WORKER}
    for trail in evidence.trails.values():
        for attempt in trail.attempts():
            kill = deaths.get(attempt.worker or "")
            if kill is not None and (attempt.ended is None or attempt.ended > kill.moment):
                yield attempt, kill


def _next_start(attempt: Attempt, trail: Trail) -> float | None:
    later = (each.started for each in trail.attempts() if each.number > attempt.number)
    return next(later, None)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 where there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
