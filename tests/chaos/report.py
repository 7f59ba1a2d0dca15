"""Report of a chaos run: the content of out/chaos.json, and a table for the console."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any, Final

from rich.table import Table

from tests.chaos.audit import AuditFindings, Evidence, percentile
from tests.chaos.load_generator import ClientLog
from tests.chaos.supervisor import Kill, ProcessKind

MAX_REDELIVERY_SECONDS: Final = 20.0
VIOLATIONS: Final = ("lost", "duplicated", "wrong", "not_accepted")
_MAX_LISTED: Final = 50
_REPORTED_LIBRARIES: Final = ("redis", "uvicorn", "fastapi", "obstore", "av", "numpy")


def summarise(
    evidence: Evidence, findings: AuditFindings, log: ClientLog, *, submission_count: int
) -> dict[str, Any]:
    """Summarise a run; `violations` lists every violation."""
    return {
        "jobs": submission_count,
        "accepted": len(evidence.accepted),
        "not_accepted": submission_count - len(evidence.accepted),
        "lost": len(findings.lost),
        "duplicated": len(findings.duplicated),
        "wrong": len(findings.wrong),
        **_summarise_redelivery(findings.redelivery_seconds),
        **_summarise_kills(evidence.kills),
        "states": dict(Counter(str(each.state) for each in evidence.outcomes.values())),
        "errors": dict(
            Counter(each.error_code for each in evidence.outcomes.values() if each.error_code)
        ),
        "attempts": _histogram(each.attempts for each in evidence.outcomes.values()),
        "submission_tries": _histogram(each.request_count for each in evidence.accepted),
        "answers": dict(sorted(log.responses.items())),
        "unpublished_results": sum(
            len(history.unpublished_attempts()) for history in evidence.histories.values()
        ),
        "violations": {
            "lost": findings.lost[:_MAX_LISTED],
            "duplicated": findings.duplicated[:_MAX_LISTED],
            "wrong": findings.wrong[:_MAX_LISTED],
            "not_accepted": log.rejected[:_MAX_LISTED],
        },
    }


def _summarise_redelivery(seconds: Sequence[float]) -> dict[str, float]:
    return {
        "redelivery_p99_seconds": round(percentile(seconds, 0.99), 3),
        "redelivery_p50_seconds": round(percentile(seconds, 0.5), 3),
        "redelivery_max_seconds": round(max(seconds, default=0.0), 3),
        "redeliveries": len(seconds),
    }


def _summarise_kills(kills: Sequence[Kill]) -> dict[str, Any]:
    by_kind = Counter(kill.kind for kill in kills)
    return {
        "kills": len(kills),
        "kills_by_part": {str(kind): by_kind[kind] for kind in ProcessKind},
    }


def has_passed(summary: dict[str, Any]) -> bool:
    """Return whether a summary and its long jobs have no violations."""
    is_redelivery_prompt = summary["redelivery_p99_seconds"] <= MAX_REDELIVERY_SECONDS
    long_jobs = summary.get("long_jobs", {})
    are_long_jobs_right = not long_jobs.get("started_again") and not long_jobs.get(
        "ended_otherwise"
    )
    return (
        is_redelivery_prompt
        and are_long_jobs_right
        and not any(summary[name] for name in VIOLATIONS)
    )


def collect_versions() -> dict[str, str]:
    """Return the versions of Python, kernel and libraries."""
    return {"python": platform.python_version(), "kernel": platform.release()} | {
        name: version(name) for name in _REPORTED_LIBRARIES
    }


def make_table(summary: dict[str, Any]) -> Table:
    """Make a table of the main counts."""
    table = Table.grid(padding=(0, 2))
    kills = ", ".join(f"{count} {kind}" for kind, count in summary["kills_by_part"].items())
    rows: Sequence[tuple[str, str]] = (
        ("jobs", f"{summary['jobs']}, {summary['accepted']} accepted"),
        ("kills", f"{summary['kills']}: {kills}"),
        ("lost", str(summary["lost"])),
        ("duplicated", str(summary["duplicated"])),
        ("wrong", str(summary["wrong"])),
        (
            "redelivery",
            f"p50 {summary['redelivery_p50_seconds']} s, p99 {summary['redelivery_p99_seconds']} s,"
            f" max {summary['redelivery_max_seconds']} s ({summary['redeliveries']} of them)",
        ),
    )
    for row in rows:
        table.add_row(*row)
    for job in summary.get("long_jobs", {}).get("jobs", ()):
        outcome = job["error_code"] or job["state"]
        table.add_row(job["name"], f"started {job['starts']}x, {job['leases']} leases: {outcome}")
    return table


def _histogram(values: Iterable[int]) -> dict[str, int]:
    """Count how often each value occurs."""
    return {str(value): count for value, count in sorted(Counter(values).items())}
