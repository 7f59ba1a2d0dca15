"""Pictures of a report, as small SVG files with text as text: the same report, the same bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.tables import STAGE_NAMES

BEFORE: Final[Mapping[str, float]] = {
    "decode": 5.87,
    "models": 1.22,
    "worker": 0.30,
    "Triton": 0.12,
    "gateway": 0.08,
    "Redis": 0.03,
    "client": 0.03,
}
"""Milliseconds of a core a frame by process, four clips of `mini` at once, before a frame was made
cheaper: the same clip and kind of machine (two cores of an AMD EPYC, Zen 5)."""
_COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "circumplex",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH_INCHES: Final = 7.5


def draw_frame_costs(report: Mapping[str, Any], path: Path) -> None:
    """Draw what a frame costs, by process, before and now, and by stage alone."""
    now = report["service"]["at_once"]["4"]["cpu_ms_per_frame"]
    stages = report["summary"]["cpu_ms_per_frame"]
    bars = {
        "before, by process": dict(BEFORE),
        "now, by process": {name: now[name] for name in BEFORE},
        "now, stages alone": {STAGE_NAMES[name]: cost for name, cost in stages.items()},
    }
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, 2.6), layout="constrained")
        axes = figure.subplots()
        for row, parts in enumerate(bars.values()):
            _draw_stack(axes, -row, parts)
        axes.set_yticks([-row for row in range(len(bars))], list(bars))
        axes.set_xlabel("milliseconds of a core a frame, four clips of 1280x720 at once")
        _save(figure, path)


def draw_ceilings(report: Mapping[str, Any], path: Path) -> None:
    """Draw the ceilings in frames a second, and what the service reaches."""
    ceilings = report["summary"]["ceilings"]
    reached = {
        "one clip": report["service"]["alone"]["frames_per_second"],
        **{
            f"{copies} at once": run["frames_per_second"]
            for copies, run in report["service"]["at_once"].items()
        },
    }
    ordered = sorted(ceilings.items(), key=lambda each: -each[1])
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH_INCHES, 3.2), layout="constrained")
        axes = figure.subplots()
        names = [STAGE_NAMES[name] for name, _ in ordered]
        bars = axes.barh(names, [rate for _, rate in ordered], color=_COLOURS[0])
        axes.bar_label(bars, fmt="%.0f", padding=3)
        for number, (label, rate) in enumerate(reached.items()):
            axes.axvline(rate, color=_COLOURS[number + 1], label=f"{label}: {rate:.0f}", lw=1.2)
        axes.set_xscale("log")
        axes.set_xlabel("frames a second")
        axes.set_xlim(left=min(ceilings.values()) / 3, right=2 * max(ceilings.values()))
        figure.legend(frameon=False, loc="outside upper right", ncols=len(reached))
        _save(figure, path)


def _draw_stack(axes: Axes, y: float, parts: Mapping[str, float]) -> None:
    """Draw a row of parts one behind the other, with the name of each that is wide enough."""
    left, widest = 0.0, sum(BEFORE.values())
    for number, (name, cost) in enumerate(parts.items()):
        axes.barh(y, cost, left=left, color=_COLOURS[number % len(_COLOURS)], height=0.7)
        if cost > widest / 14:
            label = f"{name.replace(' ', chr(10))}\n{cost:.2f}"
            axes.text(left + cost / 2, y, label, ha="center", va="center", size=7)
        left += cost
    axes.text(left + 0.05, y, f"{left:.2f}", va="center", weight="bold")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, format="svg", metadata={"Date": None})
