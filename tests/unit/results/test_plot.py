"""Plots of a result: the image and the sparkline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from service.results.plot import PlottingNotInstalled, draw_sparkline, plot_result

CURVE_COLUMNS = [
    f"{name}{end}" for name in ("valence", "arousal") for end in ("", "_std", "_smoothed")
]


def make_result(frames: int, *, known: bool = True, training: str = "trained") -> dict[str, Any]:
    columns: dict[str, list[Any]] = {
        name: [k / frames if known else None for k in range(frames)] for name in CURVE_COLUMNS
    }
    columns["time"] = [k / 25 for k in range(frames)]
    columns["observed"] = [known and k % 7 != 0 for k in range(frames)]
    flags = [] if known else ["no_face"]
    return {"frames": columns, "flags": flags, "provenance": {"training": training}, "media": {}}


@pytest.mark.parametrize("frames", [0, 1, 2, 250, 9_001])
@pytest.mark.parametrize("known", [True, False])
def test_result_of_any_length_is_plotted(tmp_path: Path, frames: int, known: bool) -> None:
    plot_result(make_result(frames, known=known), tmp_path / "result.png")
    picture = cv2.imread(str(tmp_path / "result.png"))
    assert picture is not None
    assert picture.shape == (708, 1440, 3)


def test_unknown_points_leave_a_gap(tmp_path: Path) -> None:
    result = make_result(50)
    for name in CURVE_COLUMNS:
        result["frames"][name][:10] = [None] * 10
    plot_result(result, tmp_path / "result.svg")
    assert "<svg" in (tmp_path / "result.svg").read_text()


@pytest.mark.parametrize(("training", "is_noted"), [("untrained", True), ("trained", False)])
def test_plot_notes_untrained_weights(tmp_path: Path, training: str, is_noted: bool) -> None:
    plot_result(make_result(20, training=training), tmp_path / "result.svg")
    assert is_noted == ("untrained weights" in (tmp_path / "result.svg").read_text())


@pytest.mark.parametrize("frames", [1, 20, 9_001])
def test_truth_is_drawn_and_named_in_all_three_axes(tmp_path: Path, frames: int) -> None:
    truth = {name: [0.4] * frames for name in ("valence", "arousal")}
    plot_result(make_result(frames), tmp_path / "result.svg", truth=truth)
    plot_result(make_result(frames), tmp_path / "without.svg")
    assert (tmp_path / "result.svg").read_text().count("<!-- truth -->") == 3
    assert "<!-- truth -->" not in (tmp_path / "without.svg").read_text()


def test_truth_is_drawn_at_its_value(tmp_path: Path) -> None:
    result = make_result(50)
    for height, bottom, top in ((0.9, 0, 0.35), (-0.9, 0.65, 1)):
        truth = {name: [height] * 50 for name in ("valence", "arousal")}
        plot_result(result, tmp_path / "with.png", truth=truth)
        plot_result(result, tmp_path / "without.png")
        pictures = [cv2.imread(str(tmp_path / f"{name}.png")) for name in ("with", "without")]
        assert pictures[0] is not None
        assert pictures[1] is not None
        # inside the upper curve's axes, left of the legend
        changed = (pictures[0] != pictures[1]).any(axis=2)[91:314, 100:600]
        rows = np.flatnonzero(changed.any(axis=1)) / len(changed)
        assert len(rows)
        assert bottom < rows.min() <= rows.max() < top


def test_missing_matplotlib_names_the_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PlottingNotInstalled, match="`plot` extra"):
        plot_result(make_result(5), tmp_path / "result.png")


def test_sparkline_has_the_same_scale_for_all_clips() -> None:
    assert draw_sparkline([-1.0, -0.5, 0.0, 0.5, 1.0], 5) == "▁▃▅▇█"


def test_sparkline_averages_values_and_marks_unknown_ones_with_dots() -> None:
    assert draw_sparkline([None, None, -1.0, None, 1.0, 1.0], 3) == "·▁█"


def test_sparkline_of_nothing_is_empty() -> None:
    assert draw_sparkline([], 10) == ""
