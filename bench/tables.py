"""Tables of a report: their rows as text, printed, or written as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.processes import GROUPS
from bench.summary import check_targets

Report = Mapping[str, Any]

STAGE_NAMES = {
    "decoding": "decoding",
    "face": "faces",
    "audio": "audio",
    "visual_backbone": "visual backbone",
    "log_mel": "log-mel",
    "audio_backbone": "audio backbone",
    "fusion": "fusion",
    "memory_copies": "copies of memory",
    "arithmetic": "arithmetic",
    "shared": "all stages, sharing the cores",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A table: headings, and rows of as many cells."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_markdown(self) -> str:
        """Lines of a Markdown table; all columns but the first are aligned to the right."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = [self.headings, rule, *self.rows]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def print_to(self, console: Console) -> None:
        """Print it."""
        table = Table(*self.headings)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


def show_report(report: Report, console: Console) -> None:
    """Print the tables of the parts that a report has."""
    for table in build_tables(report).values():
        table.print_to(console)


def build_tables(report: Report) -> dict[str, TextTable]:
    """Tables by name, of the parts that a report has."""
    needs = {
        "stages": ("stages", "processor"),
        "decoding": ("stages",),
        "roofline": ("stages", "processor"),
        "batches": ("stages",),
        "processes": ("service",),
        "memory": ("service",),
        "scale": ("scale",),
        "paper": ("paper",),
        "targets": ("summary",),
    }
    makers = {
        "stages": _stages,
        "decoding": _decoding,
        "roofline": _roofline,
        "batches": _batches,
        "processes": _processes,
        "memory": _memory,
        "scale": _scale,
        "paper": _paper,
        "targets": _targets,
    }
    return {
        name: makers[name](report)
        for name, parts in needs.items()
        if all(report.get(part) for part in parts)
    }


def _stages(report: Report) -> TextTable:
    summary = report["summary"]
    reached = report.get("service", {}).get("at_once", {}).get("4", {}).get("frames_per_second")
    rows = [
        [
            STAGE_NAMES[name],
            _number(summary["cpu_ms_per_frame"].get(name)),
            f"{rate:.0f}",
            _ratio(reached, rate),
        ]
        for name, rate in summary["ceilings"].items()
    ]
    return TextTable(
        headings=("alone", "ms of a core a frame", "frames/s", "four clips at once / alone"),
        rows=rows,
    )


def _decoding(report: Report) -> TextTable:
    names = {
        "bare_decoding": "decoding by the library alone",
        "decoding": "decoding, as the service does",
        "bare_mesh": "mesh network, once a frame",
        "face": "faces",
        "audio": "audio",
        "extraction": "all of the decode process, with its threads",
    }
    plain, grain = report["stages"]["extraction"], report["stages"]["extraction_grain"]
    return TextTable(
        headings=("ms of a core a frame", "clip of 20 s", "with grain, 5 Mbit/s"),
        rows=[
            [
                label,
                *(_number(costs[name]["cpu_ms_per_frame"]) for costs in (plain, grain)),
            ]
            for name, label in names.items()
        ],
    )


def _roofline(report: Report) -> TextTable:
    rates = report["processor"]["one_thread"]
    rows = [
        [
            STAGE_NAMES[name],
            _number(row["mflop_per_frame"]),
            _number(row["gflops"]),
            f"{row['of_fp32']:.2f}",
            f"{row['of_bf16']:.2f}",
        ]
        for name, row in report["summary"]["roofline"].items()
    ]
    return TextTable(
        headings=(
            "network, one thread",
            "MFLOP a frame",
            "GFLOP/s",
            f"of fp32 ({rates['fp32']:.0f})",
            f"of bf16 ({rates['bf16']:.0f})",
        ),
        rows=rows,
    )


def _batches(report: Report) -> TextTable:
    batches = report["stages"]["batches"]
    sizes = list(next(iter(batches.values())))
    return TextTable(
        headings=("ms of a core a frame, by batch", *sizes),
        rows=[
            [STAGE_NAMES[slot], *(_number(costs[size]["cpu_ms_per_frame"]) for size in sizes)]
            for slot, costs in batches.items()
        ],
    )


def _processes(report: Report) -> TextTable:
    runs = {"1": report["service"]["alone"]} | report["service"]["at_once"]
    columns = {f"{copies} of `mini`": run for copies, run in runs.items()}
    if "expression" in report:
        columns["4 of `expression`"] = report["expression"]["at_once"]["4"]
    rows = [
        [
            group.lower(),
            *(_number(run["cpu_ms_per_frame"][group]) for run in columns.values()),
        ]
        for group in GROUPS
    ]
    rows += [
        ["all", *(_number(run["cpu_ms_per_frame_total"]) for run in columns.values())],
        ["share of the cores in use", *(f"{run['busy']:.2f}" for run in columns.values())],
        ["frames/s", *(f"{run['frames_per_second']:.0f}" for run in columns.values())],
    ]
    return TextTable(headings=("ms of a core a frame, clips at once", *columns), rows=rows)


def _memory(report: Report) -> TextTable:
    columns = {"ready": report["service"]["memory_mib"]["ready"]}
    columns["peak of 4 clips"] = report["service"]["memory_mib"]["peak_of_4_clips"]
    if "expression" in report:
        columns["ready, `expression`"] = report["expression"]["memory_mib"]["ready"]
    rows = [
        [group.lower(), *(f"{column.get(group, 0):.0f}" for column in columns.values())]
        for group in GROUPS[1:]
    ]
    rows.append(["all", *(f"{sum(column.values()):.0f}" for column in columns.values())])
    return TextTable(headings=("MiB (PSS)", *columns), rows=rows)


def _scale(report: Report) -> TextTable:
    scale = report["scale"]
    rows = [
        [
            label,
            ", ".join(map(str, scale[f"cores_of_{name}"])),
            f"{scale[name]['frames_per_second']:.0f}",
            _number(scale[name]["cpu_ms_per_frame_total"]),
            f"{scale[name]['busy']:.2f}",
        ]
        for name, label in (("one", "one worker"), ("two", "two workers"))
    ]
    return TextTable(
        headings=("", "cores", "frames/s", "ms of a core a frame", "share of the cores in use"),
        rows=rows,
    )


def _paper(report: Report) -> TextTable:
    paper = report["paper"]
    columns = {"plain eager": paper["eager"]} | {
        f"exported, {precision}": costs for precision, costs in paper["exported"].items()
    }
    rows = [
        [
            STAGE_NAMES[slot],
            *(_number(costs[slot]["cpu_ms_per_frame"]) for costs in columns.values()),
        ]
        for slot in paper["eager"]
    ]
    rows.append(
        ["times as fast as eager", "", *(f"{gain:.2f}" for gain in paper["gains"].values())]
    )
    return TextTable(headings=("`paper`, ms of a core a frame", *columns), rows=rows)


def _targets(report: Report) -> TextTable:
    rows = [
        [
            target.label,
            f"{_number(value)} {target.unit}".strip(),
            f"{'at least' if target.is_minimum else 'at most'} {target.limit:g}",
            "yes" if target.is_met(value) else "no",
        ]
        for target, value in check_targets(report)
    ]
    return TextTable(headings=("figure", "measured", "target", "met"), rows=rows)


def _ratio(value: float | None, divisor: float) -> str:
    return "" if value is None else f"{value / divisor:.2f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
