"""Contact sheets: frames of a clip with the numbers of a result on them, over their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from service.domain.array_types import Float64Array, Int64Array, UInt8Array
from service.domain.model_signatures import TARGETS
from training.inspection.sheet_data import (
    SheetColumns,
    choose_frames,
    cut_tile,
    read_columns,
    read_pictures,
)

_COLOURS: Final = {"valence": "#2f6fde", "arousal": "#e0663a"}
_TEXT: Final = "#1f2430"
_WARNING: Final = "#b3261e"
_TILE_PIXELS: Final = 180
_TILE_INCHES: Final = 1.9
_COLUMNS: Final = 8
_CURVE_ROWS: Final = 2
"""Height of the curves in rows of tiles."""


def draw_contact_sheet(
    clip: Path, result: Mapping[str, Any], target: Path, *, frames: int = 24
) -> None:
    """Draw the sheet of a clip and its JSON result into a PNG, SVG or PDF.

    On each frame: the face's box, time, smoothed valence and arousal with their standard
    deviations, raw values, and the most probable class where the model has classes.

    Args: frames: at most so many, evenly over the clip.
    Raises: ResultUnreadable, ResultOfAnotherClip; ClipError: the clip cannot be read.
    """
    columns = read_columns(result)
    chosen = choose_frames(columns, frames)
    pictures = read_pictures(clip, columns, chosen)
    rows = math.ceil(len(chosen) / _COLUMNS)
    height = _TILE_INCHES * (1.32 * rows + _CURVE_ROWS) + 0.5
    figure = Figure(figsize=(_TILE_INCHES * _COLUMNS, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        rows + 1,
        _COLUMNS,
        height_ratios=[*(1.32,) * rows, _CURVE_ROWS],
        left=0.035,
        right=0.99,
        top=1 - 0.45 / height,
        bottom=0.4 / height,
        wspace=0.05,
        hspace=0.08,
    )
    for place, (frame, picture) in enumerate(zip(chosen.tolist(), pictures, strict=True)):
        axes = figure.add_subplot(grid[place // _COLUMNS, place % _COLUMNS])
        _draw_tile(axes, columns, frame, picture)
    _draw_curves(figure.add_subplot(grid[rows, :]), columns, chosen)
    _write_heading(figure, clip, result)
    figure.savefig(target)


def _draw_tile(axes: Any, columns: SheetColumns, frame: int, picture: UInt8Array) -> None:
    tile, box = cut_tile(picture, columns.box[frame], _TILE_PIXELS)
    axes.imshow(tile, aspect="equal")
    if np.isfinite(box).all():
        axes.add_patch(
            Rectangle((box[0], box[1]), box[2], box[3], fill=False, color="#37d67a", linewidth=1.2)
        )
    axes.set_xticks(())
    axes.set_yticks(())
    axes.set_xlabel(_describe_frame(columns, frame), fontsize=7.5, color=_TEXT, linespacing=1.25)


def _describe_frame(columns: SheetColumns, frame: int) -> str:
    lines = [f"{columns.time[frame]:.2f} s"]
    top = columns.find_top_class(frame)
    if top is not None:
        lines[0] += f"   {top[0]} {top[1]:.2f}"
    for name in TARGETS:
        value, raw, std = (
            columns.curves[key][frame] for key in (f"{name}_smoothed", name, f"{name}_std")
        )
        known = f"{value:+.2f} ± {std:.2f}   raw {raw:+.2f}" if np.isfinite(value) else "unknown"
        lines.append(f"{name[0].upper()} {known}")
    return "\n".join(lines)


def _draw_curves(axes: Any, columns: SheetColumns, chosen: Int64Array) -> None:
    time = columns.time
    axes.axhline(0, color="#8a91a0", linewidth=0.8)
    for seconds in time[chosen]:
        axes.axvline(seconds, color="#e6e8ee", linewidth=0.8, zorder=0)
    for name, colour in _COLOURS.items():
        smoothed, std = columns.curves[f"{name}_smoothed"], columns.curves[f"{name}_std"]
        axes.fill_between(
            time, smoothed - std, smoothed + std, color=colour, alpha=0.1, linewidth=0
        )
        axes.plot(time, columns.curves[name], color=colour, alpha=0.45, linewidth=0.7)
        axes.plot(time, smoothed, color=colour, linewidth=2, label=name)
    _shade_absences(axes, columns)
    axes.set_ylim(-1.05, 1.05)
    if len(time) > 1:
        axes.set_xlim(time[0], time[-1])
    axes.tick_params(labelsize=8)
    axes.set_xlabel("time, s; line: smoothed, thin: raw, band: standard deviation", fontsize=8)
    axes.legend(loc="lower right", fontsize=8, ncols=2, frameon=False)


def _shade_absences(axes: Any, columns: SheetColumns) -> None:
    """Shade the frames in which the face was not found."""
    absent: Float64Array = np.where(columns.observed, 0.0, 1.0)
    axes.fill_between(
        columns.time, -1.05, 1.05, where=absent > 0, color="#d9dce3", linewidth=0, step="mid"
    )


def _write_heading(figure: Any, clip: Path, result: Mapping[str, Any]) -> None:
    model: Any = result.get("model")
    name: Any = model if isinstance(model, str | None) else model.get("id")
    parts = [clip.name, *([f"model {name}"] if name else [])]
    figure.text(0.035, 0.995, "   ".join(parts), va="top", fontsize=11, color=_TEXT)
    flags = result.get("flags")
    if flags:
        figure.text(0.99, 0.995, ", ".join(flags), va="top", ha="right", fontsize=9, color=_WARNING)
