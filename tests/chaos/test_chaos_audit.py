"""The audit sees what it is there to see: each way of breaking the promise, planted."""

from __future__ import annotations

import copy
import socket
from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.audit import Evidence, Findings, audit, percentile
from tests.chaos.clips import Clip
from tests.chaos.crowd import Accepted, Ending, Notes, Order
from tests.chaos.killer import WEIGHTS, schedule
from tests.chaos.parts import Kill, Kind
from tests.chaos.report import VIOLATIONS, is_kept, summarise
from tests.chaos.trail import Event, Trail

START = 1_000_000.0
WORKER, OTHER = 11, 12
CLIP = Clip(name="good.mp4", data=b"")
BROKEN = Clip(name="broken.mp4", data=b"", error_code="clip_truncated")
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
SUCCEEDED = Ending(state="succeeded", attempts=1, result=DOCUMENT)
FAILED = Ending(state="failed", attempts=1, error_code="clip_truncated")


def worker_id(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def event(seconds: float, state: str, attempt: int = 0, pid: int | None = None) -> Event:
    worker = None if pid is None else worker_id(pid)
    return Event(moment=START + seconds, state=state, attempt=attempt, worker=worker)


def trail(job_id: str, *events: Event) -> Trail:
    return Trail(
        job_id=job_id,
        record={"published": "1"},
        events=events
        or (event(0, "queued"), event(1, "running", 1, WORKER), event(2, "succeeded", 1, WORKER)),
        results=frozenset({1}),
    )


def accepted(number: int, clip: Clip) -> Accepted:
    order = Order(number=number, key=f"key-{number}", clip=clip)
    return Accepted(order=order, job_id=f"job-{number}", moment=START, tries=1)


@pytest.fixture
def kept() -> Evidence:
    """Two jobs that ended as they should."""
    return Evidence(
        accepted=[accepted(0, CLIP), accepted(1, BROKEN)],
        final={"job-0": "succeeded", "job-1": "failed"},
        expected={CLIP.name: SUCCEEDED, BROKEN.name: FAILED},
        endings={"job-0": SUCCEEDED, "job-1": FAILED},
        trails={
            "job-0": trail("job-0"),
            "job-1": trail("job-1", event(0, "queued"), event(1, "running", 1), event(2, "failed")),
        },
    )


def with_first(evidence: Evidence, ending: Ending) -> Evidence:
    return replace(evidence, endings={**evidence.endings, "job-0": ending})


def with_trail(evidence: Evidence, *events: Event) -> Evidence:
    return replace(evidence, trails={**evidence.trails, "job-0": trail("job-0", *events)})


def counts(evidence: Evidence) -> tuple[int, int, int]:
    """Lost, duplicated, wrong; and the report says the same, and whether all is well."""
    found = audit(evidence)
    summary = summarise(evidence, found, Notes(), orders=len(evidence.accepted))
    told = summary["lost"], summary["duplicated"], summary["wrong"]
    assert told == (len(found.lost), len(found.duplicated), len(found.wrong))
    assert is_kept(summary) is (told == (0, 0, 0))
    return told


def test_promise_that_was_kept_has_no_findings(kept: Evidence) -> None:
    assert audit(kept) == Findings()
    assert counts(kept) == (0, 0, 0)


@pytest.mark.parametrize("state", [None, "queued", "running"])
def test_accepted_job_that_has_not_ended_is_lost(kept: Evidence, state: str | None) -> None:
    assert counts(with_first(kept, Ending(state=state))) == (1, 0, 0)


def test_result_published_twice_is_a_duplicate(kept: Evidence) -> None:
    twice = with_trail(
        kept,
        event(0, "queued"),
        event(1, "running", 1, WORKER),
        event(2, "running", 2, OTHER),
        event(3, "succeeded", 2, OTHER),
        event(4, "succeeded", 1, WORKER),
    )
    assert counts(twice) == (0, 1, 0)


def test_second_job_of_one_submission_is_a_duplicate(kept: Evidence) -> None:
    twin = replace(kept, trails={**kept.trails, "job-9": trail("job-9")})
    assert counts(twin) == (0, 1, 0)


def test_job_that_two_orders_were_given_is_a_duplicate(kept: Evidence) -> None:
    shared = replace(accepted(2, CLIP), job_id="job-0")
    assert counts(replace(kept, accepted=[*kept.accepted, shared])) == (0, 1, 0)


def changed(*place: str | int, value: Any) -> Ending:
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return replace(SUCCEEDED, result=document)


@pytest.mark.parametrize(
    "ending",
    [
        changed("frames", "valence", 1, value=0.25 + 2e-5),
        changed("frames", "valence", 0, value=0.0),
        changed("frames", "valence", 1, value=None),
        changed("frames", "time", 1, value=0.08),
        changed("frames", "index", value=[0]),
        changed("frames", "observed", 0, value=True),
        changed("flags", value=[]),
        changed("more", value=1),
        replace(SUCCEEDED, result=None),
        Ending(state="failed", error_code="internal_error"),
        Ending(state="cancelled"),
    ],
)
def test_result_that_differs_is_wrong(kept: Evidence, ending: Ending) -> None:
    told = {**kept.final, "job-0": str(ending.state)}
    assert counts(replace(with_first(kept, ending), final=told)) == (0, 0, 1)


@pytest.mark.parametrize(
    "ending",
    [
        changed("frames", "valence", 1, value=0.25 + 5e-6),
        changed("provenance", value={"weights": "two"}),
        changed("frames", "index", value=[0.0, 1.0]),
    ],
)
def test_other_order_of_adding_and_other_provenance_are_not_wrong(
    kept: Evidence, ending: Ending
) -> None:
    assert counts(with_first(kept, ending)) == (0, 0, 0)


@pytest.mark.parametrize(
    "ending",
    [replace(FAILED, error_code="clip_not_media"), replace(SUCCEEDED, result=None)],
)
def test_broken_clip_that_ends_otherwise_is_wrong(kept: Evidence, ending: Ending) -> None:
    told = {**kept.final, "job-1": str(ending.state)}
    endings = {**kept.endings, "job-1": ending}
    assert counts(replace(kept, endings=endings, final=told)) == (0, 0, 1)


def test_final_state_that_changed_later_is_wrong(kept: Evidence) -> None:
    assert counts(replace(kept, final={**kept.final, "job-0": "failed"})) == (0, 0, 1)


def test_order_that_was_never_accepted_is_told(kept: Evidence) -> None:
    summary = summarise(kept, audit(kept), Notes(rejected=["key-2: 422"]), orders=3)
    assert summary["not_accepted"] == 1
    assert not is_kept(summary)


def kill(seconds: float, pid: int = WORKER, kind: Kind = Kind.WORKER) -> Kill:
    return Kill(kind=kind, name=str(kind), pid=pid, moment=START + seconds)


REDELIVERED = (
    event(0, "queued"),
    event(1, "running", 1, WORKER),
    event(14, "running", 2, OTHER),
    event(16, "succeeded", 2, OTHER),
)


@pytest.mark.parametrize(
    ("kills", "seconds"),
    [
        ([kill(3)], [11.0]),
        ([kill(3, OTHER)], []),
        ([kill(0.999)], [13.001]),  # its last claim was still on its way
        ([kill(20, OTHER)], []),
        ([kill(3, kind=Kind.GATEWAY)], []),
        ([kill(3), kill(15, OTHER)], [11.0]),
    ],
)
def test_redelivery_lasts_from_the_kill_of_the_holder_to_the_next_start(
    kept: Evidence, kills: list[Kill], seconds: list[float]
) -> None:
    found = audit(replace(with_trail(kept, *REDELIVERED), kills=kills))
    assert found.lease_seconds == pytest.approx(seconds)


def test_slow_redelivery_breaks_the_promise(kept: Evidence) -> None:
    evidence = replace(with_trail(kept, *REDELIVERED), kills=[kill(3)])
    summary = summarise(evidence, audit(evidence), Notes(), orders=2)
    assert summary["redelivery_p99_seconds"] == 11.0
    assert is_kept(summary)
    assert not is_kept(summary | {"redelivery_p99_seconds": 20.5})
    assert all(not is_kept(summary | {name: 1}) for name in VIOLATIONS)


def test_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.99) == 0.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile(range(100), 0.99) == 99
    assert percentile(range(1000), 0.99) == 990
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0


def test_schedule_is_a_function_of_the_seed_and_begins_with_each_kind() -> None:
    def deal(seed: int, count: int) -> list[tuple[float, Kind]]:
        plan = schedule(seed, 4.0)
        return [next(plan) for _ in range(count)]

    assert deal(5, 60) == deal(5, 60) != deal(6, 60)
    assert {kind for _, kind in deal(5, len(Kind))} == set(Kind)
    once = [kind for _, kind in deal(5, len(Kind) + sum(WEIGHTS.values()))][len(Kind) :]
    assert {kind: once.count(kind) for kind in Kind} == WEIGHTS
    assert all(1.6 <= pause <= 6.4 for pause, _ in deal(5, 60))
