"""The columns of a result as a picture needs them, and the colours they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.domain.array_types import BoolArray
from service.results.columns import Float64Array

TEXT_COLOUR: Final = "#1f2430"
MUTED_COLOUR: Final = "#8a91a0"
COLOURS: Final = {"valence": "#2f6fde", "arousal": "#e0663a"}
TRUTH_LINE: Final[Mapping[str, Any]] = {
    "color": TEXT_COLOUR,
    "linewidth": 1.3,
    "linestyle": (0, (4, 2)),
    "label": "truth",
}
_MAX_POINTS: Final = 4_000

GroundTruth = Mapping[str, Sequence[float]]
"""Valence and arousal as they are known to be, one value for every frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotData:
    """The columns that are drawn: (T,) each, NaN where unknown; by name in `curves`.

    truth: by the names of COLOURS, where it is known.
    """

    time: Float64Array
    curves: Mapping[str, Float64Array]
    observed: BoolArray
    truth: Mapping[str, Float64Array]


def read_plot_data(result: Mapping[str, Any], truth: GroundTruth | None = None) -> PlotData:
    """The columns, thinned to what a picture can show; truth has a value for every frame."""
    frames: Mapping[str, Sequence[Any]] = result["frames"]
    step = max(1, len(frames["time"]) // _MAX_POINTS)
    names = [name + ending for name in COLOURS for ending in ("", "_std", "_smoothed")]
    return PlotData(
        time=np.array(frames["time"][::step], dtype=np.float64),
        curves={name: np.array(frames[name][::step], dtype=np.float64) for name in names},
        observed=np.array(frames["observed"][::step], dtype=np.bool_),
        truth={
            name: np.array(values[::step], dtype=np.float64)
            for name, values in (truth or {}).items()
        },
    )


def find_spans(marked: BoolArray) -> list[tuple[int, int]]:
    """Runs of True as (first, one past the last)."""
    padded = np.concatenate([[False], marked, [False]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded))
    return [(int(start), int(end)) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def hide_axes_frame(axes: Any) -> None:
    """Take away the box round the axes."""
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=TEXT_COLOUR, length=0)
