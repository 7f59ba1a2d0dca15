"""Formatting of a report as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from training.evaluation.comparison import METRIC_NAMES

_COLUMNS = ("", *METRIC_NAMES, "held out", "behind", "beyond seeds")


def build_report_table(report: Mapping[str, Any]) -> Table:
    """Build a table of the CCC of folds, ensemble, seeds and ablations, and of the coverage.

    Column "behind": difference from the full model; "beyond seeds": yes where the difference
    exceeds the range between seeds.
    """
    title = f"CCC, {report['subjects']} subjects, {report['scored']} frames"
    table = Table(*_COLUMNS, title=title)
    for name, figures in _rows(report):
        if figures is not None:
            margin = figures.get("margin")
            beyond_seeds: Mapping[str, Any] = figures.get("beyond_seeds") or {}
            table.add_row(
                name,
                *(f"{figures[key]:.3f}" for key in METRIC_NAMES),
                _format_bool(figures.get("held_out")),
                "" if margin is None else f"{margin['mean']:+.3f}",
                _format_bool(beyond_seeds.get("mean")),
            )
    return table


def _rows(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    for fold, figures in report["folds"].items():
        yield f"fold {fold}", figures
    yield "ensemble", report["ensemble"]
    yield "smoothed", report.get("ensemble_smoothed")
    people = report.get("by_person")
    if people is not None:
        yield "one person, mean", people["mean"]
        yield "one person, deviation", people["deviation"]
    seeds = report["seeds"]
    if seeds is not None:
        for run in seeds["runs"]:
            yield f"seed {run['seed']}", run
        yield "mean of seeds", seeds["mean"]
        yield "deviation of seeds", seeds["spread"]["deviation"]
        yield "range of seeds", seeds["spread"]["range"]
    yield from report["ablations"].items()
    yield "90 % coverage", report.get("coverage_90")


def _format_bool(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
