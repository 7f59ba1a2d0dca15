"""Plots of a result: an image of its curves and its path on the circumplex, and text sparklines."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from service.domain.array_types import BoolArray, Float64Array
from service.results.plot_footer import write_footer

PLOT_SUFFIXES: Final = (".png", ".svg", ".pdf")
BLOCKS: Final = "▁▂▃▄▅▆▇█"
"""Characters of a sparkline, from -1 to 1."""
GAP: Final = "·"
"""Character of a sparkline where all values are unknown."""
_TEXT_COLOUR: Final = "#1f2430"
_MUTED_COLOUR: Final = "#8a91a0"
_COLOURS: Final = {"valence": "#2f6fde", "arousal": "#e0663a"}
_TRUTH_LINE: Final[Mapping[str, Any]] = {
    "color": _TEXT_COLOUR,
    "linewidth": 1.3,
    "linestyle": (0, (4, 2)),
    "label": "truth",
}
_MAX_POINTS: Final = 4_000
_FIGURE_INCHES: Final = (12.0, 5.9)
_TOP_INCHES: Final = 0.756
_BOTTOM_INCHES: Final = 1.2
"""Margins above the axes, for the title, and below them, for the footer."""
_QUADRANTS: Final = (
    (0.52, 0.52, "excited"),
    (-0.52, 0.52, "tense"),
    (-0.52, -0.52, "sad"),
    (0.52, -0.52, "calm"),
)

GroundTruth = Mapping[str, Sequence[float]]
"""True valence and arousal, one value for every frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _PlotData:
    """Columns that are drawn, (T,) each, NaN where unknown.

    frames: of the result, of which some may be left out here.
    curves: by column name. truth: by the names of _COLOURS, empty where unknown.
    """

    frames: int
    time: Float64Array
    curves: Mapping[str, Float64Array]
    observed: BoolArray
    truth: Mapping[str, Float64Array]


class PlottingNotInstalled(ImportError):
    """Plots need matplotlib: install circumplex with its `plot` extra."""


def plot_result(
    result: Mapping[str, object],
    target: Path | BinaryIO,
    *,
    image_format: str | None = None,
    truth: GroundTruth | None = None,
) -> None:
    """Plot a JSON result into an image file.

    Args: image_format: "png", "svg" or "pdf"; None: that of the path's suffix. truth: true values
        to compare with.
    Raises: PlottingNotInstalled: matplotlib is missing.
    """
    figure = _make_figure()
    data = _read_plot_data(result, truth)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.75, 1), wspace=0.16, hspace=0.12)
    upper = figure.add_subplot(grid[0, 0])
    lower = figure.add_subplot(grid[1, 0], sharex=upper)
    _draw_curve(upper, data, "valence")
    _draw_curve(lower, data, "arousal")
    upper.tick_params(labelbottom=False)
    lower.set_xlabel("time, s", color=_TEXT_COLOUR)
    circle = figure.add_subplot(grid[:, 1])
    _draw_circumplex(circle)
    _draw_path(figure, circle, data)
    _write_title(figure, data)
    write_footer(figure, result)
    figure.savefig(target, format=image_format)


def _make_figure() -> Any:
    """Create a figure on its own canvas, without pyplot and its global state."""
    try:
        figures = importlib.import_module("matplotlib.figure")
        agg = importlib.import_module("matplotlib.backends.backend_agg")
    except ImportError as error:
        raise PlottingNotInstalled(PlottingNotInstalled.__doc__) from error
    figure = figures.Figure(figsize=_FIGURE_INCHES, dpi=120, facecolor="white")
    agg.FigureCanvasAgg(figure)
    height_inches = _FIGURE_INCHES[1]
    figure.subplots_adjust(
        left=0.06,
        right=0.975,
        top=1 - _TOP_INCHES / height_inches,
        bottom=_BOTTOM_INCHES / height_inches,
    )
    return figure


def _draw_curve(axes: Any, data: _PlotData, name: str) -> None:
    colour, time = _COLOURS[name], data.time
    raw, spread = data.curves[name], data.curves[f"{name}_std"]
    axes.axhline(0, color=_MUTED_COLOUR, linewidth=0.8)
    for start, end in _find_spans(~data.observed):
        last = time[min(end, len(time) - 1)]
        axes.axvspan(time[start], last, color="#eceef2", linewidth=0, zorder=0)
    axes.fill_between(time, raw - spread, raw + spread, color=colour, alpha=0.16, linewidth=0)
    axes.plot(time, raw, color=colour, alpha=0.55, linewidth=0.8)
    axes.plot(time, data.curves[f"{name}_smoothed"], color=colour, linewidth=2.2, label="estimate")
    if data.truth:
        axes.plot(time, data.truth[name], **_TRUTH_LINE)
        axes.legend(loc="upper right", frameon=False, fontsize=9, labelcolor=_TEXT_COLOUR, ncols=2)
    axes.set_ylim(-1.05, 1.05)
    axes.set_yticks((-1, -0.5, 0, 0.5, 1))
    if len(time) > 1:
        axes.set_xlim(time[0], time[-1])
    axes.set_ylabel(name, color=colour, fontsize=12, fontweight="bold")
    axes.grid(color="#e6e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    _hide_axes_frame(axes)
    if not np.isfinite(raw).any():
        axes.text(0.5, 0.6, "nothing to show: no face was found", transform=axes.transAxes,
                  ha="center", va="center", color=_MUTED_COLOUR)  # fmt: skip


def _write_title(figure: Any, data: _PlotData) -> None:
    """Write the title, and how many frames there are."""
    height_inches = figure.get_figheight()
    caption = f"{data.frames} frames"
    observed_share = float(data.observed.mean()) if len(data.observed) else 0.0
    caption += f", a face in {observed_share:.0%} of them"
    figure.text(
        0.06, 1 - 0.35 / height_inches, "Valence and arousal", fontsize=16, fontweight="bold",
        color=_TEXT_COLOUR,
    )  # fmt: skip
    figure.text(0.06, 1 - 0.62 / height_inches, caption, fontsize=10, color=_MUTED_COLOUR)


def _draw_circumplex(axes: Any) -> None:
    """Draw the empty circumplex: the unit circle, its axes and the names of its quadrants."""
    angle = np.linspace(0, 2 * np.pi, 241)
    axes.fill(np.cos(angle), np.sin(angle), color="#f7f8fb", zorder=0)
    for radius, width in ((0.5, 0.7), (1.0, 1.2)):
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="#cfd4de", linewidth=width)
    axes.plot((-1, 1), (0, 0), color="#cfd4de", linewidth=0.8)
    axes.plot((0, 0), (-1, 1), color="#cfd4de", linewidth=0.8)
    for across, up, word in _QUADRANTS:
        axes.text(across, up, word, ha="center", va="center", color="#aeb4c1", fontsize=13)
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-1.08, 1.08)
    axes.set_aspect("equal")
    axes.set_xticks((-1, 0, 1))
    axes.set_yticks((-1, 0, 1))
    axes.set_xlabel("valence", color=_COLOURS["valence"], fontsize=12, fontweight="bold")
    axes.set_ylabel("arousal", color=_COLOURS["arousal"], fontsize=12, fontweight="bold",
                    labelpad=-4)  # fmt: skip
    _hide_axes_frame(axes)


def _draw_path(figure: Any, axes: Any, data: _PlotData) -> None:
    """Draw the smoothed path coloured by time, with its start and end, and the true path."""
    truth: list[Any] = []
    if data.truth:
        truth = axes.plot(data.truth["valence"], data.truth["arousal"], **_TRUTH_LINE)
    points = np.stack([data.curves[f"{name}_smoothed"] for name in _COLOURS], axis=1)
    known: BoolArray = np.isfinite(points[:, 0] + points[:, 1])
    if not known.any():
        return
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    whole = known[:-1] & known[1:]
    collections = importlib.import_module("matplotlib.collections")
    line = collections.LineCollection(
        list(pieces[whole]), array=data.time[:-1][whole], cmap="viridis", linewidth=2.6
    )
    line.set_capstyle("round")
    axes.add_collection(line)
    first, last = points[known][0], points[known][-1]
    ends = axes.plot(
        *first, "o", color="white", markeredgecolor=_TEXT_COLOUR, markersize=9, label="start"
    )
    ends += axes.plot(*last, "s", color=_TEXT_COLOUR, markersize=8, label="end")
    axes.legend(handles=[*ends, *truth], loc="upper right", frameon=False, fontsize=9,
                labelcolor=_TEXT_COLOUR, ncols=3, bbox_to_anchor=(1.02, 1.09),
                handletextpad=0.4)  # fmt: skip
    if whole.any():
        bar = figure.colorbar(line, ax=axes, fraction=0.04, pad=0.03)
        bar.ax.set_title("s", color=_TEXT_COLOUR, fontsize=9)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=_TEXT_COLOUR, length=0)


def _read_plot_data(result: Mapping[str, Any], truth: GroundTruth | None = None) -> _PlotData:
    """Read the columns of a JSON result, thinned to at most twice `_MAX_POINTS` rows."""
    frames: Mapping[str, Sequence[Any]] = result["frames"]
    step = max(1, len(frames["time"]) // _MAX_POINTS)
    names = [name + ending for name in _COLOURS for ending in ("", "_std", "_smoothed")]
    return _PlotData(
        frames=len(frames["time"]),
        time=np.array(frames["time"][::step], dtype=np.float64),
        curves={name: np.array(frames[name][::step], dtype=np.float64) for name in names},
        observed=np.array(frames["observed"][::step], dtype=np.bool_),
        truth={
            name: np.array(values[::step], dtype=np.float64)
            for name, values in (truth or {}).items()
        },
    )


def _find_spans(marked: BoolArray) -> list[tuple[int, int]]:
    """Runs of True as (first, one past the last)."""
    padded = np.concatenate([[False], marked, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def _hide_axes_frame(axes: Any) -> None:
    """Hide the box around the axes."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_TEXT_COLOUR, length=0)


def draw_sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw values of [-1, 1] in `width` characters; a dot stands for values that are all unknown.

    The scale is fixed, so that lines of several clips are comparable: ▁ is -1, █ is 1.
    """
    if not values or width < 1:
        return ""
    columns = min(width, len(values))
    edges = [round(k * len(values) / columns) for k in range(columns + 1)]
    return "".join(_choose_block(values[start:end]) for start, end in pairwise(edges))


def _choose_block(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return GAP
    level = (sum(known) / len(known) + 1) / 2
    return BLOCKS[min(max(int(level * len(BLOCKS)), 0), len(BLOCKS) - 1)]
