"""Evaluation clips, rendered as clips and as crops."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from e2e_eval.clips import ClipSelection, read_clips, render_clips
from e2e_eval.errors import FramesMismatch
from training.data.video import read_video

CLIP_SPEC = ClipSelection(
    seed=9, actors=1, seconds=1.0, rates=("24", "variable"), rates_per_actor=2
)


@pytest.fixture(scope="module")
def rendered_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    assert len(list(render_clips(CLIP_SPEC, folder))) == 4
    return folder


def test_actors_and_frame_rates_are_balanced() -> None:
    selection = ClipSelection(
        seed=0, actors=8, seconds=1.0, rates=("24", "30", "60", "variable"), rates_per_actor=2
    )
    assert set(Counter(spec.actor for spec in selection.clip_specs).values()) == {2}
    assert set(Counter(spec.rate for spec in selection.clip_specs).values()) == {4}
    assert len({spec.name for spec in selection.clip_specs}) == 16
    assert len(selection.subjects) == 8


def test_more_rates_per_actor_than_rates_render_every_rate_once() -> None:
    selection = replace(CLIP_SPEC, rates_per_actor=9)
    assert [spec.rate for spec in selection.clip_specs] == ["24", "variable"]


def test_clip_truth_and_crops_are_of_the_same_frames(rendered_clips: Path) -> None:
    for clip in read_clips(CLIP_SPEC, rendered_clips):
        times, waveform = read_video(clip.file)
        assert times == pytest.approx(clip.truth.times, abs=1e-6)
        assert len(waveform) == pytest.approx(16_000, abs=1_200)
        assert len(clip.recording) == len(clip.truth)
        assert clip.recording.video is not None
        assert np.array_equal(read_video(clip.recording.video)[0], times)
        known = clip.recording.is_annotated
        assert clip.truth.targets[known] == pytest.approx(clip.recording.targets[known], abs=1e-6)
        assert clip.recording.has_face.any()


def test_existing_clips_are_not_rendered_again(rendered_clips: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in rendered_clips.rglob("*.mp4")}
    assert len(before) == len(list(render_clips(CLIP_SPEC, rendered_clips))) == 4
    assert before == {file: file.stat().st_mtime_ns for file in rendered_clips.rglob("*.mp4")}


def test_another_spec_replaces_the_rendered_clips(tmp_path: Path) -> None:
    for seed in (3, 4):
        selection = ClipSelection(
            seed=seed, actors=1, seconds=1.0, rates=("24",), rates_per_actor=1
        )
        list(render_clips(selection, tmp_path))
        assert {file.stem for file in tmp_path.rglob("*.mp4")} == {f"actor0{seed}00000-24"}


def test_truth_that_differs_from_the_crops_is_rejected(tmp_path: Path) -> None:
    selection = replace(CLIP_SPEC, rates=("24",))
    list(render_clips(selection, tmp_path))
    (file,) = tmp_path.glob("clips/*.csv")
    rows = file.read_text().splitlines()
    file.write_text("\n".join(rows[:-1]) + "\n")
    with pytest.raises(FramesMismatch, match="truth of 23 frames, 24 of crops"):
        read_clips(selection, tmp_path)
    file.write_text("\n".join([rows[0], *rows[2:], rows[1]]) + "\n")
    with pytest.raises(FramesMismatch, match="truth of the clip differs from the crops'"):
        read_clips(selection, tmp_path)
