"""Tests of the audit, the report and the kill schedule, with planted violations."""

from __future__ import annotations

import copy
import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.audit import AuditFindings, Evidence, audit, percentile
from tests.chaos.clips import ChaosClip
from tests.chaos.job_history import JobHistory, StateChange
from tests.chaos.killer import KILL_WEIGHTS, make_kill_schedule
from tests.chaos.load_generator import AcceptedSubmission, ClientLog, JobOutcome, PlannedSubmission
from tests.chaos.report import VIOLATIONS, has_passed, summarise
from tests.chaos.supervisor import Kill, ProcessKind

START_EPOCH_SECONDS = 1_000_000.0
WORKER_PID, OTHER_PID = 11, 12
CLIP = ChaosClip(name="good.mp4", data=b"")
BROKEN_CLIP = ChaosClip(name="broken.mp4", data=b"", error_code="clip_truncated")
DOCUMENT: dict[str, Any] = {
    "flags": ["no_audio"],
    "provenance": {"weights": "one"},
    "frames": {
        "index": [0, 1],
        "time": [0.0, 0.04],
        "valence": [None, 0.25],
        "observed": [False, True],
    },
}
SUCCEEDED = JobOutcome(state="succeeded", attempts=1, result=DOCUMENT)
FAILED = JobOutcome(state="failed", attempts=1, error_code="clip_truncated")


def worker_id(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def make_state_change(
    seconds: float, state: str, attempt: int = 0, pid: int | None = None
) -> StateChange:
    worker = None if pid is None else worker_id(pid)
    return StateChange(
        epoch_seconds=START_EPOCH_SECONDS + seconds, state=state, attempt=attempt, worker=worker
    )


def make_history(job_id: str, *events: StateChange) -> JobHistory:
    return JobHistory(
        job_id=job_id,
        record={"published": "1"},
        events=events
        or (
            make_state_change(0, "queued"),
            make_state_change(1, "running", 1, WORKER_PID),
            make_state_change(2, "succeeded", 1, WORKER_PID),
        ),
        results=frozenset({1}),
    )


def make_accepted(number: int, clip: ChaosClip) -> AcceptedSubmission:
    submission = PlannedSubmission(number=number, key=f"key-{number}", clip=clip)
    return AcceptedSubmission(
        submission=submission,
        job_id=f"job-{number}",
        epoch_seconds=START_EPOCH_SECONDS,
        request_count=1,
    )


@pytest.fixture
def clean_evidence() -> Evidence:
    """Two jobs that ended as expected."""
    return Evidence(
        accepted=[make_accepted(0, CLIP), make_accepted(1, BROKEN_CLIP)],
        first_final_states={"job-0": "succeeded", "job-1": "failed"},
        expected={CLIP.name: SUCCEEDED, BROKEN_CLIP.name: FAILED},
        outcomes={"job-0": SUCCEEDED, "job-1": FAILED},
        histories={
            "job-0": make_history("job-0"),
            "job-1": make_history(
                "job-1",
                make_state_change(0, "queued"),
                make_state_change(1, "running", 1),
                make_state_change(2, "failed"),
            ),
        },
    )


def with_first_outcome(evidence: Evidence, outcome: JobOutcome) -> Evidence:
    return replace(evidence, outcomes={**evidence.outcomes, "job-0": outcome})


def with_first_history(evidence: Evidence, *events: StateChange) -> Evidence:
    return replace(
        evidence, histories={**evidence.histories, "job-0": make_history("job-0", *events)}
    )


def count_violations(evidence: Evidence) -> tuple[int, int, int]:
    """Count lost, duplicated and wrong jobs; checks that the report agrees."""
    found = audit(evidence)
    summary = summarise(evidence, found, ClientLog(), submission_count=len(evidence.accepted))
    counts = summary["lost"], summary["duplicated"], summary["wrong"]
    assert counts == (len(found.lost), len(found.duplicated), len(found.wrong))
    assert has_passed(summary) is (counts == (0, 0, 0))
    return counts


def test_clean_run_has_no_findings(clean_evidence: Evidence) -> None:
    assert audit(clean_evidence) == AuditFindings()
    assert count_violations(clean_evidence) == (0, 0, 0)


@pytest.mark.parametrize("state", [None, "queued", "running"])
def test_accepted_job_that_has_not_ended_is_lost(
    clean_evidence: Evidence, state: str | None
) -> None:
    assert count_violations(with_first_outcome(clean_evidence, JobOutcome(state=state))) == (
        1,
        0,
        0,
    )


def test_result_published_twice_is_a_duplicate(clean_evidence: Evidence) -> None:
    twice = with_first_history(
        clean_evidence,
        make_state_change(0, "queued"),
        make_state_change(1, "running", 1, WORKER_PID),
        make_state_change(2, "running", 2, OTHER_PID),
        make_state_change(3, "succeeded", 2, OTHER_PID),
        make_state_change(4, "succeeded", 1, WORKER_PID),
    )
    assert count_violations(twice) == (0, 1, 0)


def test_second_job_of_one_submission_is_a_duplicate(clean_evidence: Evidence) -> None:
    extra = replace(
        clean_evidence, histories={**clean_evidence.histories, "job-9": make_history("job-9")}
    )
    assert count_violations(extra) == (0, 1, 0)


def test_job_given_to_two_submissions_is_a_duplicate(clean_evidence: Evidence) -> None:
    shared = replace(make_accepted(2, CLIP), job_id="job-0")
    assert count_violations(
        replace(clean_evidence, accepted=[*clean_evidence.accepted, shared])
    ) == (0, 1, 0)


def make_changed_outcome(*place: str | int, value: Any) -> JobOutcome:
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return replace(SUCCEEDED, result=document)


@pytest.mark.parametrize(
    "outcome",
    [
        make_changed_outcome("frames", "valence", 1, value=0.25 + 2e-5),
        make_changed_outcome("frames", "valence", 0, value=0.0),
        make_changed_outcome("frames", "valence", 1, value=None),
        make_changed_outcome("frames", "time", 1, value=0.08),
        make_changed_outcome("frames", "index", value=[0]),
        make_changed_outcome("frames", "observed", 0, value=True),
        make_changed_outcome("flags", value=[]),
        make_changed_outcome("more", value=1),
        replace(SUCCEEDED, result=None),
        JobOutcome(state="failed", error_code="internal_error"),
        JobOutcome(state="cancelled"),
    ],
)
def test_result_that_differs_is_wrong(clean_evidence: Evidence, outcome: JobOutcome) -> None:
    first_states = {**clean_evidence.first_final_states, "job-0": str(outcome.state)}
    assert count_violations(
        replace(with_first_outcome(clean_evidence, outcome), first_final_states=first_states)
    ) == (
        0,
        0,
        1,
    )


@pytest.mark.parametrize(
    "outcome",
    [
        make_changed_outcome("frames", "valence", 1, value=0.25 + 5e-6),
        make_changed_outcome("provenance", value={"weights": "two"}),
        make_changed_outcome("frames", "index", value=[0.0, 1.0]),
    ],
)
def test_rounding_and_other_provenance_are_not_wrong(
    clean_evidence: Evidence, outcome: JobOutcome
) -> None:
    assert count_violations(with_first_outcome(clean_evidence, outcome)) == (0, 0, 0)


@pytest.mark.parametrize(
    "outcome",
    [replace(FAILED, error_code="clip_not_media"), replace(SUCCEEDED, result=None)],
)
def test_broken_clip_with_another_outcome_is_wrong(
    clean_evidence: Evidence, outcome: JobOutcome
) -> None:
    first_states = {**clean_evidence.first_final_states, "job-1": str(outcome.state)}
    outcomes = {**clean_evidence.outcomes, "job-1": outcome}
    assert count_violations(
        replace(clean_evidence, outcomes=outcomes, first_final_states=first_states)
    ) == (
        0,
        0,
        1,
    )


def test_final_state_that_changed_later_is_wrong(clean_evidence: Evidence) -> None:
    assert count_violations(
        replace(
            clean_evidence,
            first_final_states={**clean_evidence.first_final_states, "job-0": "failed"},
        )
    ) == (0, 0, 1)


def test_submission_never_accepted_is_reported(clean_evidence: Evidence) -> None:
    summary = summarise(
        clean_evidence,
        audit(clean_evidence),
        ClientLog(rejected=["key-2: 422"]),
        submission_count=3,
    )
    assert summary["not_accepted"] == 1
    assert not has_passed(summary)


def make_kill(
    seconds: float, pid: int = WORKER_PID, kind: ProcessKind = ProcessKind.WORKER
) -> Kill:
    return Kill(kind=kind, name=str(kind), pid=pid, epoch_seconds=START_EPOCH_SECONDS + seconds)


REDELIVERED_EVENTS = (
    make_state_change(0, "queued"),
    make_state_change(1, "running", 1, WORKER_PID),
    make_state_change(14, "running", 2, OTHER_PID),
    make_state_change(16, "succeeded", 2, OTHER_PID),
)


@pytest.mark.parametrize(
    ("kills", "seconds"),
    [
        ([make_kill(3)], [11.0]),
        ([make_kill(3, OTHER_PID)], []),
        ([make_kill(0.999)], [13.001]),  # its last claim had not reached Redis
        ([make_kill(20, OTHER_PID)], []),
        ([make_kill(3, kind=ProcessKind.GATEWAY)], []),
        ([make_kill(3), make_kill(15, OTHER_PID)], [11.0]),
    ],
)
def test_redelivery_lasts_from_the_kill_of_the_holder_to_the_next_start(
    clean_evidence: Evidence, kills: list[Kill], seconds: list[float]
) -> None:
    found = audit(replace(with_first_history(clean_evidence, *REDELIVERED_EVENTS), kills=kills))
    assert found.redelivery_seconds == pytest.approx(seconds)


def test_slow_redelivery_fails_the_run(clean_evidence: Evidence) -> None:
    evidence = replace(
        with_first_history(clean_evidence, *REDELIVERED_EVENTS), kills=[make_kill(3)]
    )
    summary = summarise(evidence, audit(evidence), ClientLog(), submission_count=2)
    assert summary["redelivery_p99_seconds"] == 11.0
    assert has_passed(summary)
    assert not has_passed(summary | {"redelivery_p99_seconds": 20.5})
    assert all(not has_passed(summary | {name: 1}) for name in VIOLATIONS)


def test_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile(range(100), 0.99) == 99
    assert percentile(range(1000), 0.99) == 990
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0


def test_schedule_is_a_function_of_the_seed_and_begins_with_each_kind() -> None:
    def draw(seed: int, count: int) -> list[tuple[float, ProcessKind]]:
        plan = make_kill_schedule(seed, 4.0)
        return [next(plan) for _ in range(count)]

    assert draw(5, 60) == draw(5, 60) != draw(6, 60)
    assert {kind for _, kind in draw(5, len(ProcessKind))} == set(ProcessKind)
    once = [kind for _, kind in draw(5, len(ProcessKind) + sum(KILL_WEIGHTS.values()))][
        len(ProcessKind) :
    ]
    assert {kind: once.count(kind) for kind in ProcessKind} == KILL_WEIGHTS
    assert all(1.6 <= pause <= 6.4 for pause, _ in draw(5, 60))
