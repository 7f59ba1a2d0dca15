"""Figures of a fitted head on people it has not met, beside those of the estimator without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from service.domain.array_types import Float64Array
from service.domain.model_signatures import TARGETS
from training.data.layout import Split
from training.head_fitting.cross_fitting import HeldOutEstimates
from training.metrics import compute_scores_of_recordings
from training.person_metrics import (
    MIN_PEOPLE,
    PersonSums,
    describe_people,
    find_intervals,
    sum_by_person,
)

VARIANTS: Final = {
    "before": "as it is",
    "before_smoothed": "as it is, smoothed",
    "fitted": "fitted",
}
"""Estimates that are compared, and their titles."""


def compute_figures(
    held_out: Sequence[HeldOutEstimates], *, has_own_estimates: bool
) -> dict[str, Any]:
    """Compute CCC and root mean square error of every variant, with intervals over people; JSON.

    Args: has_own_estimates: False leaves out the estimator as it is.
    Returns: by variant; `difference` of the fitted one from the model as it is; `annotations`:
        their mean and deviation, which is the error of the best constant.
    """
    parts = [each for each in held_out if len(each.truth)]
    names = [name for name in VARIANTS if has_own_estimates or name == "fitted"]
    sums = {name: _sum(parts, name) for name in names}
    figures: dict[str, Any] = {name: _describe(parts, name, sums[name]) for name in names}
    figures["annotations"] = _describe_annotations(parts)
    if has_own_estimates and len(sums["fitted"]) >= MIN_PEOPLE:
        after, before = sums["fitted"], sums["before"]
        difference = after.resample_ccc() - before.resample_ccc()
        figures["difference"] = {"ccc_interval_95": find_intervals(difference)}
    return figures


def select_official(held_out: Sequence[HeldOutEstimates]) -> list[HeldOutEstimates]:
    """Select the official validation set, which the head of the official training set estimates."""
    return [each for each in held_out if each.recording.split is Split.VALIDATION]


def build_figures_table(report: dict[str, Any]) -> Table:
    """Build the table of a report's figures."""
    title = f"{report['model']} on people its head has not met"
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    for title in ("CCC V", "A", "mean", "95 % of people", "RMSE V", "A"):
        table.add_column(title, justify="right", no_wrap=True)
    for part, title in (("held_out", "every person"), ("official_split", "official split")):
        if report[part] is None:
            continue
        deviation = report[part]["annotations"]["deviation"]
        constant = [f"{deviation[name]:.3f}" for name in TARGETS]
        table.add_row(title)
        table.add_row("  a constant", "0", "0", "0", "", *constant)
        for name, variant in VARIANTS.items():
            if name in report[part]:
                table.add_row(f"  {variant}", *_format_row(report[part][name]))
    return table


def _sum(parts: Sequence[HeldOutEstimates], name: str) -> PersonSums:
    people = [each.recording.subject for each in parts]
    return sum_by_person(people, _select(parts, name), [each.truth for each in parts])


def _select(parts: Sequence[HeldOutEstimates], name: str) -> list[Float64Array]:
    match name:
        case "before":
            return [each.before for each in parts]
        case "before_smoothed":
            return [each.before_smoothed for each in parts]
        case _:
            return [each.smoothed for each in parts]


def _describe(parts: Sequence[HeldOutEstimates], name: str, sums: PersonSums) -> dict[str, Any]:
    scores = compute_scores_of_recordings(_select(parts, name), [each.truth for each in parts])
    people = describe_people(sums)
    names = tuple(scores.as_dict())
    several = len(sums) >= MIN_PEOPLE
    return {
        "ccc": scores.as_dict(),
        "rmse": dict(zip(names, sums.rmse.tolist(), strict=True)),
        "rmse_interval_95": find_intervals(sums.resample_rmse()) if several else None,
        "people": people,
    }


def _describe_annotations(parts: Sequence[HeldOutEstimates]) -> dict[str, dict[str, float]]:
    truth = np.concatenate([each.truth for each in parts])
    return {
        name: dict(zip(TARGETS, values.tolist(), strict=True))
        for name, values in (("mean", truth.mean(axis=0)), ("deviation", truth.std(axis=0)))
    }


def _format_row(figures: dict[str, Any]) -> list[str]:
    ccc, rmse = figures["ccc"], figures["rmse"]
    interval = figures["people"]["interval_95"]
    low_high = "-" if interval is None else "{:.2f} to {:.2f}".format(*interval["mean"])
    values = [f"{ccc[name]:.3f}" for name in ("valence", "arousal", "mean")]
    return [*values, low_high, *(f"{rmse[name]:.3f}" for name in ("valence", "arousal"))]
