"""Contact sheets: what they show, and results that do not belong to the clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.media.clip_factory import VideoTrack, encode_clip
from training.cli import app
from training.inspection.errors import ResultOfAnotherClip, ResultUnreadable
from training.inspection.sheet_data import choose_frames, cut_tile, read_columns, read_pictures

FRAMES = 12
CURVES = [f"{name}{end}" for name in ("valence", "arousal") for end in ("", "_std", "_smoothed")]


def make_result(*, classes: bool = True, start_seconds: float = 0.0) -> dict[str, Any]:
    frames: dict[str, Any] = {name: [k / FRAMES for k in range(FRAMES)] for name in CURVES}
    frames["time"] = [start_seconds + k / 25 for k in range(FRAMES)]
    frames["face"] = {name: [20.0] * (FRAMES - 1) + [None] for name in ("left", "top")}
    frames["face"] |= {name: [16.0] * (FRAMES - 1) + [None] for name in ("width", "height")}
    if classes:
        frames["classes"] = {
            "neutral": [0.4] * (FRAMES - 1) + [None],
            "happiness": [0.1 * k for k in range(FRAMES - 1)] + [None],
        }
    return {"frames": frames, "flags": ["weights_unmeasured"], "model": {"id": "expression@1"}}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encode_clip(tmp_path_factory.mktemp("sheet") / "clip.mp4", VideoTrack(count=FRAMES))


@pytest.mark.parametrize("classes", [True, False])
def test_the_command_draws_a_sheet(tmp_path: Path, clip: Path, classes: bool) -> None:
    result, sheet = tmp_path / "result.json", tmp_path / "sheet.png"
    result.write_text(json.dumps(make_result(classes=classes)))
    arguments = ["contact-sheet", str(clip), str(result), "-o", str(sheet), "--frames", "5"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    picture = cv2.imread(str(sheet))
    assert picture is not None
    # the faces' pictures, not an empty page
    assert np.unique(picture[100:250, 100:250].reshape(-1, 3), axis=0).shape[0] > 100


def test_a_result_of_another_clip_is_refused(tmp_path: Path, clip: Path) -> None:
    columns = read_columns(make_result(start_seconds=0.02))
    with pytest.raises(ResultOfAnotherClip, match=r"0\.020 s"):
        read_pictures(clip, columns, choose_frames(columns, 3))
    shorter = encode_clip(tmp_path / "short.mp4", VideoTrack(count=FRAMES - 2))
    columns = read_columns(make_result())
    with pytest.raises(ResultOfAnotherClip, match="fewer frames"):
        read_pictures(shorter, columns, choose_frames(columns, FRAMES))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"frames": {"time": []}}'])
def test_another_file_is_no_result(tmp_path: Path, clip: Path, content: str) -> None:
    result = tmp_path / "result.json"
    result.write_text(content)
    run = CliRunner().invoke(app, ["contact-sheet", str(clip), str(result)])
    assert run.exit_code == 1
    assert "ResultUnreadable" in run.output


def test_a_result_without_frames_is_refused() -> None:
    result = make_result(classes=False)
    columns: dict[str, Any] = dict.fromkeys(("time", *CURVES), ())
    columns["face"] = dict.fromkeys(("left", "top", "width", "height"), ())
    result["frames"] = columns
    with pytest.raises(ResultUnreadable, match="no frames"):
        choose_frames(read_columns(result), 5)


def test_the_most_probable_class_of_a_frame_is_named() -> None:
    columns = read_columns(make_result())
    assert columns.find_top_class(2) == ("neutral", 0.4)
    assert columns.find_top_class(9) == ("happiness", pytest.approx(0.9))
    assert columns.find_top_class(FRAMES - 1) is None
    assert columns.observed.tolist() == [True] * (FRAMES - 1) + [False]


def test_a_tile_shows_the_surroundings_of_the_face() -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[100:150, 560:600] = 255
    tile, box = cut_tile(picture, np.array([560.0, 100.0, 40.0, 50.0]), 300)
    assert tile.shape == (300, 300, 3)
    # two heights of the face, moved into the picture at its right edge
    assert box.tolist() == pytest.approx([180.0, 75.0, 120.0, 150.0])
    left, top, width, height = (round(value) for value in box)
    assert tile[top + height // 2, left + width // 2].tolist() == [255] * 3
    whole, _ = cut_tile(picture, np.full(4, np.nan), 200)
    assert whole.shape == (200, 300, 3)
