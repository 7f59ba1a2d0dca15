"""Whether the promise was kept: accepted means done once, right, and soon after a kill."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.job_history import Attempt, JobHistory
from tests.chaos.load_generator import AcceptedSubmission, JobOutcome
from tests.chaos.outcome_comparison import compare_outcomes
from tests.chaos.supervisor import Kill, ProcessKind

FINAL_STATES: Final = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything the audit judges by, collected when nothing is under way any more.

    accepted: what the clients were told; final: the first final state they were told of a job.
    expected: endings by a clip's name; endings and trails: by a job's id.
    """

    accepted: Sequence[AcceptedSubmission]
    first_final_states: Mapping[str, str]
    expected: Mapping[str, JobOutcome]
    outcomes: Mapping[str, JobOutcome]
    histories: Mapping[str, JobHistory]
    kills: Sequence[Kill] = ()


@dataclass(slots=True, kw_only=True)
class AuditFindings:
    """What does not hold, a line for each job; and how long each redelivery took, seconds."""

    lost: list[str] = field(default_factory=list[str])
    duplicated: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    redelivery_seconds: list[float] = field(default_factory=list[float])


def audit(evidence: Evidence) -> AuditFindings:
    """Hold what the clients were told against what there is."""
    found = AuditFindings()
    for accepted in evidence.accepted:
        _check_submission(accepted, evidence, found)
    found.duplicated += _find_duplicates(evidence)
    for attempt, kill in _find_interrupted_attempts(evidence):
        after = _next_start(attempt, evidence.histories[attempt.job_id])
        if after is not None:  # else it is lost, was given up, or its last word came just in time
            found.redelivery_seconds.append(after - kill.epoch_seconds)
    return found


def _check_submission(
    accepted: AcceptedSubmission, evidence: Evidence, found: AuditFindings
) -> None:
    """Sort one job under what is wrong with it, if anything is."""
    job_id = accepted.job_id
    name = f"{accepted.submission.key} {job_id} ({accepted.submission.clip.name})"
    ending = evidence.outcomes[job_id]
    if ending.state not in FINAL_STATES:
        found.lost.append(f"{name}: {ending.state or 'unknown to the service'}")
        return
    told = evidence.first_final_states.get(job_id)
    if told is not None and told != ending.state:
        found.wrong.append(f"{name}: {told} became {ending.state}")
    wrong = compare_outcomes(evidence.expected[accepted.submission.clip.name], ending)
    if wrong:
        found.wrong.append(f"{name}: {'; '.join(wrong)}")
    trail = evidence.histories.get(job_id)
    if trail is not None and trail.count_publications() > 1:
        found.duplicated.append(f"{name}: published {trail.count_publications()} times")


def _find_duplicates(evidence: Evidence) -> Iterator[str]:
    """Jobs beyond one for each order: made by a submission that was sent again."""
    ours = Counter(accepted.job_id for accepted in evidence.accepted)
    yield from (f"{job_id}: given to {count} orders" for job_id, count in ours.items() if count > 1)
    for job_id, trail in evidence.histories.items():
        if job_id not in ours:
            key = trail.record.get("idempotency", "no key")
            yield f"{job_id} ({key}): a job that no client was told of"


def _find_interrupted_attempts(evidence: Evidence) -> Iterator[tuple[Attempt, Kill]]:
    """Attempts whose worker was killed while it held the job, or as it reached for it."""
    host = socket.gethostname()
    deaths = {
        f"{host}:{kill.pid}": kill for kill in evidence.kills if kill.kind is ProcessKind.WORKER
    }
    for trail in evidence.histories.values():
        for attempt in trail.list_attempts():
            kill = deaths.get(attempt.worker or "")
            if kill is not None and (attempt.ended is None or attempt.ended > kill.epoch_seconds):
                yield attempt, kill


def _next_start(attempt: Attempt, trail: JobHistory) -> float | None:
    later = (each.started for each in trail.list_attempts() if each.number > attempt.number)
    return next(later, None)


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 where there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
