"""Audit of a chaos run: every accepted job ends once, with the right result, soon after a kill."""

from __future__ import annotations

import math
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, cast

from tests.chaos.job_history import Attempt, JobHistory
from tests.chaos.load_generator import AcceptedSubmission, JobOutcome
from tests.chaos.supervisor import Kill, ProcessKind

JsonObject = Mapping[str, Any]

FINAL_STATES: Final = ("succeeded", "failed", "cancelled")
TOLERANCE: Final = 1e-5
"""Tolerance of values: networks sum in another order when a batch holds other crops."""
_IGNORED_KEY: Final = "provenance"
_MAX_DIFFERENCES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Input of the audit, collected when all jobs have ended.

    accepted: accepted submissions. first_final_states: the first final state that a client
    received, by job id. expected: outcomes by clip name. outcomes, histories: by job id.
    """

    accepted: Sequence[AcceptedSubmission]
    first_final_states: Mapping[str, str]
    expected: Mapping[str, JobOutcome]
    outcomes: Mapping[str, JobOutcome]
    histories: Mapping[str, JobHistory]
    kills: Sequence[Kill] = ()


@dataclass(slots=True, kw_only=True)
class AuditFindings:
    """Violations, one line for each job, and the duration of each redelivery."""

    lost: list[str] = field(default_factory=list[str])
    duplicated: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    redelivery_seconds: list[float] = field(default_factory=list[float])


def audit(evidence: Evidence) -> AuditFindings:
    """Compare what the clients received with the final state of the service."""
    found = AuditFindings()
    for accepted in evidence.accepted:
        _check_submission(accepted, evidence, found)
    found.duplicated += _find_duplicates(evidence)
    for attempt, kill in _find_interrupted_attempts(evidence):
        after = _next_start(attempt, evidence.histories[attempt.job_id])
        if after is not None:  # else it is lost, has failed, or ended just before the kill
            found.redelivery_seconds.append(after - kill.epoch_seconds)
    return found


def _check_submission(
    accepted: AcceptedSubmission, evidence: Evidence, found: AuditFindings
) -> None:
    """Add the violations of one job."""
    job_id = accepted.job_id
    name = f"{accepted.submission.key} {job_id} ({accepted.submission.clip.name})"
    outcome = evidence.outcomes[job_id]
    if outcome.state not in FINAL_STATES:
        found.lost.append(f"{name}: {outcome.state or 'unknown to the service'}")
        return
    first_state = evidence.first_final_states.get(job_id)
    if first_state is not None and first_state != outcome.state:
        found.wrong.append(f"{name}: {first_state} became {outcome.state}")
    wrong = compare_outcomes(evidence.expected[accepted.submission.clip.name], outcome)
    if wrong:
        found.wrong.append(f"{name}: {'; '.join(wrong)}")
    history = evidence.histories.get(job_id)
    if history is not None and history.count_publications() > 1:
        found.duplicated.append(f"{name}: published {history.count_publications()} times")


def _find_duplicates(evidence: Evidence) -> Iterator[str]:
    """Find jobs beyond one for each submission, as from a submission that was sent again."""
    counts = Counter(accepted.job_id for accepted in evidence.accepted)
    yield from (
        f"{job_id}: returned for {count} submissions"
        for job_id, count in counts.items()
        if count > 1
    )
    for job_id, history in evidence.histories.items():
        if job_id not in counts:
            key = history.record.get("idempotency", "no key")
            yield f"{job_id} ({key}): a job that no client knows"


def _find_interrupted_attempts(evidence: Evidence) -> Iterator[tuple[Attempt, Kill]]:
    """Find attempts whose worker was killed while it had the job, or was claiming it."""
    host = socket.gethostname()
    kills = {
        f"{host}:{kill.pid}": kill for kill in evidence.kills if kill.kind is ProcessKind.WORKER
    }
    for history in evidence.histories.values():
        for attempt in history.list_attempts():
            kill = kills.get(attempt.worker or "")
            if kill is not None and (attempt.ended is None or attempt.ended > kill.epoch_seconds):
                yield attempt, kill


def _next_start(attempt: Attempt, history: JobHistory) -> float | None:
    later = (each.started for each in history.list_attempts() if each.number > attempt.number)
    return next(later, None)


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value that this share of the values does not exceed; 0 if there are none."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def compare_outcomes(expected: JobOutcome, found: JobOutcome) -> list[str]:
    """List differences of two outcomes: state, error and every number of the result."""
    if (found.state, found.error_code) != (expected.state, expected.error_code):
        actual = f"{found.state} ({found.error_code})"
        return [f"{actual} instead of {expected.state} ({expected.error_code})"]
    if expected.result is None:
        return []
    if found.result is None:
        return ["the result is missing"]
    return list(islice(_compare("", expected.result, found.result), _MAX_DIFFERENCES))


def _compare(place: str, expected: Any, found: Any) -> Iterator[str]:
    match expected, found:
        case Mapping(), Mapping():
            yield from _compare_objects(
                place, cast("JsonObject", expected), cast("JsonObject", found)
            )
        case [*expected_rows], [*found_rows]:
            yield from _compare_rows(place, expected_rows, found_rows)
        case float() | int(), float() | int() if not isinstance(expected, bool):
            # Pixel coordinates are compared with the same number of digits as shares of a frame.
            if not math.isclose(expected, found, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                yield f"{place}: {found} instead of {expected}"
        case _:
            if type(expected) is not type(found) or expected != found:
                yield f"{place}: {found!r} instead of {expected!r}"


def _compare_objects(place: str, expected: JsonObject, found: JsonObject) -> Iterator[str]:
    if expected.keys() != found.keys():
        yield f"{place}: {sorted(found)} instead of {sorted(expected)}"
    for name in expected.keys() & found.keys() - {_IGNORED_KEY}:
        yield from _compare(f"{place}.{name}", expected[name], found[name])


def _compare_rows(place: str, expected: Sequence[Any], found: Sequence[Any]) -> Iterator[str]:
    if len(expected) != len(found):
        yield f"{place}: {len(found)} rows instead of {len(expected)}"
        return
    for index, (expected_item, found_item) in enumerate(zip(expected, found, strict=True)):
        yield from _compare(f"{place}[{index}]", expected_item, found_item)
