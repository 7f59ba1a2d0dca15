"""The circumplex and the path of a clip on it."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from service.domain.array_types import BoolArray
from service.results.plot_data import COLOURS, TEXT_COLOUR, TRUTH_LINE, PlotData, hide_axes_frame

_QUADRANTS: Final = (
    (0.52, 0.52, "excited"),
    (-0.52, 0.52, "tense"),
    (-0.52, -0.52, "sad"),
    (0.52, -0.52, "calm"),
)


def draw_circumplex(axes: Any) -> None:
    """The empty plane: the unit circle, its axes and the words of its quadrants."""
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
    axes.set_xlabel("valence", color=COLOURS["valence"], fontsize=12, fontweight="bold")
    axes.set_ylabel("arousal", color=COLOURS["arousal"], fontsize=12, fontweight="bold",
                    labelpad=-4)  # fmt: skip
    hide_axes_frame(axes)


def draw_path(figure: Any, axes: Any, tracks: PlotData) -> None:
    """The smoothed points joined in order, coloured by time, with start and end; the true path."""
    truth: list[Any] = []
    if tracks.truth:
        truth = axes.plot(tracks.truth["valence"], tracks.truth["arousal"], **TRUTH_LINE)
    points = np.stack([tracks.curves[f"{name}_smoothed"] for name in COLOURS], axis=1)
    known: BoolArray = np.isfinite(points[:, 0] + points[:, 1])
    if not known.any():
        return
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    whole = known[:-1] & known[1:]
    collections = importlib.import_module("matplotlib.collections")
    line = collections.LineCollection(
        list(pieces[whole]), array=tracks.time[:-1][whole], cmap="viridis", linewidth=2.6
    )
    line.set_capstyle("round")
    axes.add_collection(line)
    first, last = points[known][0], points[known][-1]
    ends = axes.plot(
        *first, "o", color="white", markeredgecolor=TEXT_COLOUR, markersize=9, label="start"
    )
    ends += axes.plot(*last, "s", color=TEXT_COLOUR, markersize=8, label="end")
    axes.legend(handles=[*ends, *truth], loc="upper right", frameon=False, fontsize=9,
                labelcolor=TEXT_COLOUR, ncols=3, bbox_to_anchor=(1.02, 1.09),
                handletextpad=0.4)  # fmt: skip
    if whole.any():
        bar = figure.colorbar(line, ax=axes, fraction=0.04, pad=0.03)
        bar.ax.set_title("s", color=TEXT_COLOUR, fontsize=9)
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=TEXT_COLOUR, length=0)
