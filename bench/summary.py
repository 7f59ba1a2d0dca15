"""Summary of a report: ceilings, and how near to them the service comes, with the targets.

The stages of a frame: decoding, face and audio in a decode process, and the networks. Each is
measured alone, on one thread, by its processor seconds per frame.

- `shared` ceiling: frames a second if the cores did nothing but these stages.
- lowest ceiling: of every stage alone with as many threads as it has for one clip, of copying the
  memory, of the arithmetic of the networks, and of the shared one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, Final

from bench.bytes_moved import count_bytes
from bench.clips import HEIGHT, LONG_SECONDS, RATE_HZ, WIDTH
from bench.cost import significant

EXTRACTION_STAGES: Final = ("decoding", "face", "audio")
LONG_FRAMES: Final = LONG_SECONDS * RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure of the report that has to reach a limit. path: of its keys; unit: for the table."""

    label: str
    path: tuple[str, ...]
    limit: float
    is_minimum: bool = False
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Return whether a value reaches the limit."""
        return value >= self.limit if self.is_minimum else value <= self.limit


TARGETS: Final = (
    Target(
        label="a frame of four clips at once",
        path=("service", "at_once", "4", "cpu_ms_per_frame_total"),
        limit=3.8,
        unit="ms of a core",
    ),
    Target(
        label="of what the stages' processor seconds allow, four clips",
        path=("summary", "of_shared", "4"),
        limit=0.92,
        is_minimum=True,
    ),
    Target(
        label="of the lowest ceiling, four clips",
        path=("summary", "of_lowest", "4"),
        limit=0.85,
        is_minimum=True,
    ),
    Target(
        label="one 20 s clip alone, relative to its frames / lowest ceiling",
        path=("summary", "alone_to_lowest"),
        limit=1.3,
    ),
    Target(
        label="2 s clip, POST to result, slowest of twenty",
        path=("service", "short", "max_seconds"),
        limit=1.0,
        unit="s",
    ),
    Target(label="start to ready", path=("service", "start_seconds"), limit=12.0, unit="s"),
    Target(
        label="second worker on cores of its own",
        path=("scale", "gain"),
        limit=1.8,
        is_minimum=True,
        unit="x",
    ),
    Target(
        label="queue and gateway, each clip",
        path=("service", "queue", "cpu_ms_per_clip"),
        limit=10.0,
        unit="ms of a core",
    ),
    Target(
        label="queue and gateway, each frame",
        path=("service", "queue", "cpu_ms_per_frame"),
        limit=0.1,
        unit="ms of a core",
    ),
    Target(
        label="memory of the stack with mini",
        path=("summary", "memory_mib", "mini"),
        limit=1144.0,
        unit="MiB",
    ),
    Target(
        label="memory of the stack with expression",
        path=("summary", "memory_mib", "expression"),
        limit=1144.0,
        unit="MiB",
    ),
    Target(
        label="paper's networks, relative to plain eager",
        path=("paper", "gain"),
        limit=3.0,
        is_minimum=True,
        unit="x",
    ),
)


def summarize(report: Mapping[str, Any]) -> dict[str, Any]:
    """Derive the summary from the parts that a report has."""
    summary: dict[str, Any] = {}
    if "stages" in report and "processor" in report:
        summary |= _summarize_ceilings(report)
        if "service" in report:
            summary |= _compare_service(report["service"], summary)
    memory = {
        name: significant(sum(report[part]["memory_mib"]["ready"].values()))
        for name, part in (("mini", "service"), ("expression", "expression"))
        if part in report
    }
    return summary | ({"memory_mib": memory} if memory else {})


def check_targets(report: Mapping[str, Any]) -> list[tuple[Target, float]]:
    """Return the targets whose figure the report has, each with it."""
    found: list[tuple[Target, float]] = []
    for target in TARGETS:
        with suppress(KeyError):
            value: Any = reduce(getitem, target.path, report)
            found.append((target, float(value)))
    return found


def _summarize_ceilings(report: Mapping[str, Any]) -> dict[str, Any]:
    stages, processor, cores = report["stages"], report["processor"], report["cores"]
    costs = {name: stages["extraction"][name] for name in EXTRACTION_STAGES} | stages["networks"]
    cpu_ms = {name: cost["cpu_ms_per_frame"] for name, cost in costs.items()}
    ceilings = {name: cost["frames_per_second"] for name, cost in costs.items()}
    ceilings["decoding"] = stages["extraction"]["decoding_threaded"]["frames_per_second"]
    copied_bytes = sum(count_bytes(HEIGHT, WIDTH).values())
    operations = 1e6 * sum(processor["mflop_per_frame"].values())
    rates = processor["all_cores"]
    best_rate = max(rates[name] for name in ("fp32", "bf16", "int8"))
    ceilings["memory_copies"] = significant(1e9 * rates["copy"] / copied_bytes)
    ceilings["arithmetic"] = significant(1e9 * best_rate / operations)
    ceilings["shared"] = significant(1e3 * cores / sum(cpu_ms.values()))
    return {
        "cpu_ms_per_frame": cpu_ms,
        "cpu_ms_per_frame_total": significant(sum(cpu_ms.values())),
        "bytes_per_frame": dict(count_bytes(HEIGHT, WIDTH)),
        "ceilings": ceilings,
        "lowest_ceiling": min(ceilings.values()),
        "roofline": _summarize_roofline(report),
    }


def _summarize_roofline(report: Mapping[str, Any]) -> dict[str, Any]:
    """Rates of the networks relative to products of matrices, on one thread."""
    rates = report["processor"]["one_thread"]
    roofline: dict[str, Any] = {}
    for slot, operations in report["processor"]["mflop_per_frame"].items():
        cost_ms = report["stages"]["networks"][slot]["cpu_ms_per_frame"]
        gflops = operations / cost_ms
        roofline[slot] = {
            "mflop_per_frame": operations,
            "gflops": significant(gflops),
            **{f"of_{name}": significant(gflops / rates[name]) for name in ("fp32", "bf16")},
        }
    return roofline


def _compare_service(service: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    lowest, shared = summary["lowest_ceiling"], summary["ceilings"]["shared"]
    rates = {copies: run["frames_per_second"] for copies, run in service["at_once"].items()}
    return {
        "of_shared": {copies: significant(rate / shared) for copies, rate in rates.items()},
        "of_lowest": {copies: significant(rate / lowest) for copies, rate in rates.items()},
        "alone_to_lowest": significant(service["alone"]["wall_seconds"] * lowest / LONG_FRAMES),
    }
