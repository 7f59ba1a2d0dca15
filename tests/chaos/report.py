"""The report of a run: what out/chaos.json has, and the table at its end."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from rich.table import Table

from tests.chaos.audit import AuditFindings, Evidence, percentile
from tests.chaos.load_generator import ClientLog
from tests.chaos.supervisor import ProcessKind

MAX_REDELIVERY_SECONDS: Final = 20.0
VIOLATIONS: Final = ("lost", "duplicated", "wrong", "not_accepted")
_MAX_LISTED: Final = 50
_REPORTED_LIBRARIES: Final = ("redis", "uvicorn", "fastapi", "obstore", "av", "numpy")


def summarise(
    evidence: Evidence, findings: AuditFindings, log: ClientLog, *, submission_count: int
) -> dict[str, Any]:
    """The counts of a run; whatever does not hold is told job by job under `told`."""
    seconds = findings.redelivery_seconds
    by_part = Counter(kill.kind for kill in evidence.kills)
    return {
        "jobs": submission_count,
        "accepted": len(evidence.accepted),
        "not_accepted": submission_count - len(evidence.accepted),
        "lost": len(findings.lost),
        "duplicated": len(findings.duplicated),
        "wrong": len(findings.wrong),
        "redelivery_p99_seconds": round(percentile(seconds, 0.99), 3),
        "redelivery_p50_seconds": round(percentile(seconds, 0.5), 3),
        "redelivery_max_seconds": round(max(seconds, default=0.0), 3),
        "redeliveries": len(seconds),
        "kills": len(evidence.kills),
        "kills_by_part": {str(kind): by_part[kind] for kind in ProcessKind},
        "states": dict(Counter(str(each.state) for each in evidence.outcomes.values())),
        "errors": dict(
            Counter(each.error_code for each in evidence.outcomes.values() if each.error_code)
        ),
        "attempts": _histogram(each.attempts for each in evidence.outcomes.values()),
        "submission_tries": _histogram(each.request_count for each in evidence.accepted),
        "answers": dict(sorted(log.responses.items())),
        "unpublished_results": sum(
            len(trail.unpublished_attempts()) for trail in evidence.histories.values()
        ),
        "told": {
            "lost": findings.lost[:_MAX_LISTED],
            "duplicated": findings.duplicated[:_MAX_LISTED],
            "wrong": findings.wrong[:_MAX_LISTED],
            "not_accepted": log.rejected[:_MAX_LISTED],
        },
    }


def has_passed(summary: dict[str, Any]) -> bool:
    """Whether every job was accepted and done once, right, soon after a kill; long ones too."""
    is_soon = summary["redelivery_p99_seconds"] <= MAX_REDELIVERY_SECONDS
    long_jobs = summary.get("long_jobs", {})
    is_once = not long_jobs.get("started_again") and not long_jobs.get("ended_otherwise")
    return is_soon and is_once and not any(summary[name] for name in VIOLATIONS)


def collect_versions() -> dict[str, str]:
    """Of what the run ran on."""
    return {"python": platform.python_version(), "kernel": platform.release()} | {
        name: version(name) for name in _REPORTED_LIBRARIES
    }


def make_table(summary: dict[str, Any]) -> Table:
    """The counts that matter, a row each."""
    table = Table.grid(padding=(0, 2))
    kills = ", ".join(f"{count} {part}" for part, count in summary["kills_by_part"].items())
    rows: Sequence[tuple[str, str]] = (
        ("jobs", f"{summary['jobs']}, {summary['accepted']} accepted"),
        ("kills", f"{summary['kills']}: {kills}"),
        ("lost", str(summary["lost"])),
        ("duplicated", str(summary["duplicated"])),
        ("wrong", str(summary["wrong"])),
        (
            "redelivery",
            f"p50 {summary['redelivery_p50_seconds']} s, p99 {summary['redelivery_p99_seconds']} s,"
            f" most {summary['redelivery_max_seconds']} s ({summary['redeliveries']} of them)",
        ),
    )
    for row in rows:
        table.add_row(*row)
    for job in summary.get("long_jobs", {}).get("jobs", ()):
        outcome = job["error_code"] or job["state"]
        told = f"started {job['starts']}x, {job['leases']} leases: {outcome}"
        table.add_row(job["name"], told)
    return table


def _histogram(counts: Any) -> dict[str, int]:
    """How many jobs had each count."""
    return {str(count): number for count, number in sorted(Counter(counts).items())}
