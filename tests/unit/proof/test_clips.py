"""Held-out actors drawn as clips and as crops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proof.clips import Cast, draw, read_clips
from proof.errors import FramesDisagree
from training.data.sound import read_video

CAST = Cast(seed=9, actors=1, seconds=1.0, rates=("24", "variable"), cameras=2)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    assert len(list(draw(CAST, folder))) == 4
    return folder


def test_actors_take_turns_and_every_rate_is_drawn_as_often() -> None:
    cast = Cast(seed=0, actors=8, seconds=1.0, rates=("24", "30", "60", "variable"), cameras=2)
    assert set(Counter(piece.actor for piece in cast.pieces).values()) == {2}
    assert set(Counter(piece.rate for piece in cast.pieces).values()) == {4}
    assert len({piece.name for piece in cast.pieces}) == 16
    assert len(cast.subjects) == 8


def test_more_cameras_than_rates_draw_every_rate_once() -> None:
    cast = replace(CAST, cameras=9)
    assert [piece.rate for piece in cast.pieces] == ["24", "variable"]


def test_clip_truth_and_crops_are_of_the_same_frames(drawn: Path) -> None:
    for clip in read_clips(CAST, drawn):
        times, sound = read_video(clip.file)
        assert times == pytest.approx(clip.truth.times, abs=1e-6)
        assert len(sound) == pytest.approx(16_000, abs=1_200)
        assert len(clip.drawn) == len(clip.truth)
        assert clip.drawn.video is not None
        assert np.array_equal(read_video(clip.drawn.video)[0], times)
        known = clip.drawn.annotated
        assert clip.truth.targets[known] == pytest.approx(clip.drawn.targets[known], abs=1e-6)
        assert clip.drawn.faces.any()


def test_what_is_drawn_is_not_drawn_again(drawn: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in drawn.rglob("*.mp4")}
    assert len(before) == len(list(draw(CAST, drawn))) == 4
    assert before == {file: file.stat().st_mtime_ns for file in drawn.rglob("*.mp4")}


def test_another_cast_takes_the_place_of_what_is_drawn(tmp_path: Path) -> None:
    for seed in (3, 4):
        cast = Cast(seed=seed, actors=1, seconds=1.0, rates=("24",), cameras=1)
        list(draw(cast, tmp_path))
        assert {file.stem for file in tmp_path.rglob("*.mp4")} == {f"actor0{seed}00000-24"}


def test_truth_that_is_not_the_crops_is_refused(tmp_path: Path) -> None:
    cast = replace(CAST, rates=("24",))
    list(draw(cast, tmp_path))
    (file,) = tmp_path.glob("clips/*.csv")
    rows = file.read_text().splitlines()
    file.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(FramesDisagree, match="truth of 23 frames, 24 of crops"):
        read_clips(cast, tmp_path)
    file.write_text("\n".join([rows[0], *rows[2:], rows[1]]) + "\n")
    with pytest.raises(FramesDisagree, match="truth is not the crops'"):
        read_clips(cast, tmp_path)
