"""A result as a picture: valence and arousal over time, and the path on the circumplex."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from service.results.circumplex_plot import draw_circumplex, draw_path
from service.results.plot_data import (
    COLOURS,
    MUTED_COLOUR,
    TEXT_COLOUR,
    TRUTH_LINE,
    GroundTruth,
    PlotData,
    find_spans,
    hide_axes_frame,
    read_plot_data,
)

PLOT_SUFFIXES: Final = (".png", ".svg", ".pdf")


class PlottingNotInstalled(ImportError):
    """Plots need matplotlib: install circumplex with its `plot` extra."""


def plot_result(
    result: Mapping[str, object], path: Path, *, truth: GroundTruth | None = None
) -> None:
    """Draw the public JSON result into the image file that the suffix names (png, svg, pdf).

    Args: truth: what the estimates are to be compared with, where it is known.

    Raises: PlottingNotInstalled: matplotlib is missing.
    """
    figure = _make_figure()
    tracks = read_plot_data(result, truth)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1), wspace=0.16, hspace=0.12)
    upper = figure.add_subplot(grid[0, 0])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    _draw_curve(upper, tracks, "valence")
    _draw_curve(lower, tracks, "arousal")
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("time, s", color=TEXT_COLOUR)
    circle = figure.add_subplot(grid[:, 1])
    draw_circumplex(circle)
    draw_path(figure, circle, tracks)
    _write_captions(figure, result, tracks)
    figure.savefig(path)


def _make_figure() -> Any:
    """A figure on its own canvas: pyplot and its global state stay out of a service."""
    try:
        figures = importlib.import_module("matplotlib.figure")
        agg = importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError as error:
        raise PlottingNotInstalled(PlottingNotInstalled.__doc__) from error
    figure = figures.Figure(figsize=(12, 5.4), dpi=120, facecolor="white")
    agg.FigureCanvasAgg(figure)
    figure.subplots_adjust(left=0.06, right=0.975, top=0.86, bottom=0.13)
    return figure


def _draw_curve(axes: Any, tracks: PlotData, name: str) -> None:
    colour, time = COLOURS[name], tracks.time
    raw, spread = tracks.curves[name], tracks.curves[f"{name}_std"]
    axes.axhline(0, color=MUTED_COLOUR, linewidth=0.8)
    for start, end in find_spans(~tracks.observed):
        last = time[min(end, len(time) - 1)]
        axes.axvspan(time[start], last, color="#eceef2", linewidth=0, zorder=0)
    axes.fill_between(time, raw - spread, raw + spread, color=colour, alpha=0.16, linewidth=0)
    axes.plot(time, raw, color=colour, alpha=0.55, linewidth=0.8)
    axes.plot(
        time, tracks.curves[f"{name}_smoothed"], color=colour, linewidth=2.2, label="estimate"
    )
    if tracks.truth:
        axes.plot(time, tracks.truth[name], **TRUTH_LINE)
        axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=TEXT_COLOUR, ncols=2)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))
    if len(time) > 1:
        axes.set_xlim(time[0], time[-1])
    axes.set_ylabel(name, color=colour, fontsize=12, fontweight="bold")
    axes.grid(color="#e6e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    hide_axes_frame(axes)
    if not np.isfinite(raw).any():
        axes.text(0.5, 0.6, "nothing to show: no face was seen", transform=axes.transAxes,
                  ha="center", va="center", color=MUTED_COLOUR)  # fmt: skip


def _write_captions(figure: Any, result: Mapping[str, Any], tracks: PlotData) -> None:
    """What the picture shows, and what its numbers are worth."""
    facts = f"{len(result['frames']['time'])} frames"
    observed_share = float(tracks.observed.mean()) if len(tracks.observed) else 0.0
    facts += f", a face in {observed_share:.0%} of them"
    figure.text(
        0.06, 0.935, "Valence and arousal", fontsize=16, fontweight="bold", color=TEXT_COLOUR
    )
    figure.text(0.06, 0.885, facts, fontsize=10, color=MUTED_COLOUR)
    figure.text(0.06, 0.025, "line: smoothed · thin: raw · band: spread of the folds · "
                "grey: no face of its own", fontsize=9, color=MUTED_COLOUR)  # fmt: skip
    if result.get("provenance", {}).get("training") == "untrained":
        figure.text(0.975, 0.935, "untrained weights: the numbers mean nothing yet", ha="right",
                    fontsize=11, fontweight="bold", color="#b3261e")  # fmt: skip
    if result.get("flags"):
        figure.text(0.975, 0.025, "flags: " + ", ".join(result["flags"]), ha="right",
                    fontsize=9, color="#b3261e")  # fmt: skip
