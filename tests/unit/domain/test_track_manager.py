"""Points of all tracks on one window grid: late, suspended and dropped tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from service.domain.array_types import Float32Array
from service.domain.clip import FaceBox, Frame, TimelinePoint, TrackedFace
from service.domain.track_manager import (
    MAX_ACTIVE_TRACKS,
    MAX_TRACKS,
    MIN_TRACK_FRAMES,
    SUSPEND_AFTER_WINDOWS,
    TrackManager,
)
from service.domain.track_pipeline import TrackPipeline
from service.domain.windows import FusionOutput, Window

WINDOW, HOP, CHUNK = 30, 20, 8
SUSPEND_FRAMES = SUSPEND_AFTER_WINDOWS * WINDOW

VisibleFrames = Mapping[int, Sequence[int]]
"""Frames in which each track's face is visible."""


def box(side: float = 10.0) -> FaceBox:
    return FaceBox(left=1, top=2, width=side, height=side, score=0.9)


def frames_of(
    seen: VisibleFrames, count: int, sides: Mapping[int, float] | None = None
) -> list[Frame]:
    return [
        Frame(
            index=index,
            time_seconds=index / 25,
            faces=tuple(
                TrackedFace(track=track, box=box((sides or {}).get(track, 10.0)))
                for track, where in seen.items()
                if index in where
            ),
        )
        for index in range(count)
    ]


def features_of(frames: Sequence[Frame]) -> tuple[Float32Array, Float32Array]:
    """Face and voice features that differ for all frames and tracks."""
    faces = [(face.track + frame.index / 1000) for frame in frames for face in frame.faces]
    visual = np.repeat(np.array(faces, np.float32)[:, None], 512, axis=1).reshape(-1, 512)
    voice = np.repeat(np.sin([[frame.index] for frame in frames]).astype(np.float32), 128, axis=1)
    return visual, voice


def fake_fusion(window: Window) -> FusionOutput:
    """Fusion whose output depends on all unmasked frames of the window."""
    features = window.features
    known = features.mask[:, None]
    context = (features.visual * known).mean() + (features.audio * known).mean()
    mean = (features.visual[:, :2] + features.audio[:, :2] + context)[: window.frames]
    return FusionOutput(mean=mean.astype(np.float32), spread=np.abs(mean).astype(np.float32))


@dataclass
class TrackManagerOutput:
    """Points and dropped tracks of a track manager."""

    manager: TrackManager
    points: dict[int, list[TimelinePoint]] = field(
        default_factory=lambda: defaultdict[int, list[TimelinePoint]](list)
    )
    dropped: list[int] = field(default_factory=list[int])

    def collect(self, work: Iterator[tuple[TrackPipeline, Window]]) -> None:
        for pipeline, window in work:
            for point in pipeline.add_fusion_output(fake_fusion(window)):
                self.points[point.track].append(point)
        for point in self.manager.take_final_points():
            self.points[point.track].append(point)
        self.dropped += self.manager.take_dropped_tracks()

    def frame_indexes(self, track: int) -> list[int]:
        return [point.frame.index for point in self.points[track]]


def run_track_manager(frames: Sequence[Frame]) -> TrackManagerOutput:
    output = TrackManagerOutput(
        TrackManager(window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.1)
    )
    for first in range(0, len(frames), CHUNK):
        part = frames[first : first + CHUNK]
        output.collect(output.manager.add(part, *features_of(part)))
    output.collect(output.manager.close())
    return output


def points_of_single_track(frames: Sequence[Frame], track: int) -> list[TimelinePoint]:
    """Points of one track processed from the first frame on."""
    pipeline = TrackPipeline(
        track=track, window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.1
    )
    faces, voice = features_of(frames)
    rows = [k for k, face in enumerate(f for each in frames for f in each.faces)
            if face.track == track]  # fmt: skip
    windows = [*pipeline.add(frames, faces[rows], voice), *pipeline.close()]
    points = [
        point for window in windows for point in pipeline.add_fusion_output(fake_fusion(window))
    ]
    return points + list(pipeline.finish())


@pytest.mark.parametrize("first", [0, 3, 19, 20, 27, 30, 31, 49, 50, 61, 90])
def test_late_track_equals_one_started_at_the_first_frame(first: int) -> None:
    frames = frames_of({1: range(100), 2: range(first, 100, 2)}, 100)
    output = run_track_manager(frames)
    for track in (1, 2):
        expected = points_of_single_track(frames, track)[output.frame_indexes(track)[0] :]
        assert output.points[track] == expected
    assert output.frame_indexes(2)[0] <= first
    assert sum(point.estimate is not None for point in output.points[2]) == 100 - first


def test_primary_track_is_most_visible_then_largest_then_earliest() -> None:
    assert (
        run_track_manager(frames_of({1: range(40), 2: range(10, 60)}, 60)).manager.primary_track
        == 2
    )
    same = {1: range(40), 2: range(10, 50)}
    assert run_track_manager(frames_of(same, 60, {1: 10.0, 2: 12.0})).manager.primary_track == 2
    assert run_track_manager(frames_of(same, 60)).manager.primary_track == 1


def test_long_absent_track_is_suspended_and_continues_from_its_last_face() -> None:
    away = SUSPEND_FRAMES + 3 * WINDOW
    back = 20 + away
    frames = frames_of({1: range(back + 50), 2: [*range(20), *range(back, back + 10)]}, back + 50)
    output = run_track_manager(frames)
    indexes = output.frame_indexes(2)
    assert indexes == sorted(set(indexes))
    returns = [b for a, b in pairwise(indexes) if b != a + 1]
    assert len(returns) == 1
    assert back - WINDOW < returns[0] <= back
    assert indexes[0] == 0
    assert indexes[-1] == back + 49
    assert all(point.estimate is not None for point in output.points[2])
    assert output.points[1] == points_of_single_track(frames, 1)


def test_primary_track_is_never_suspended() -> None:
    count = 20 + 2 * SUSPEND_FRAMES
    output = run_track_manager(frames_of({1: range(20)}, count))
    assert output.frame_indexes(1) == list(range(count))
    assert output.manager.primary_track == 1


def test_too_short_track_is_dropped() -> None:
    output = run_track_manager(
        frames_of({1: range(100), 2: range(50, 50 + MIN_TRACK_FRAMES - 1)}, 100)
    )
    assert output.dropped == [2]
    alone = run_track_manager(frames_of({1: [50]}, 100))
    assert (alone.dropped, alone.manager.primary_track) == ([1], None)


def test_short_track_in_a_short_clip_is_stored() -> None:
    output = run_track_manager(frames_of({1: [0, 1]}, 3))
    assert (output.dropped, output.manager.primary_track, output.frame_indexes(1)) == (
        [],
        1,
        [0, 1, 2],
    )


def test_track_count_is_bounded_and_the_primary_track_is_stored() -> None:
    """Every fourth frame a new track appears for ten frames and never returns."""
    count = 4 * (MAX_TRACKS + 80)
    seen: dict[int, Sequence[int]] = {1: range(0, count, 3)}
    seen |= {2 + k: range(4 * k, 4 * k + 10) for k in range(count // 4 - 3)}
    output = run_track_manager(frames_of(seen, count))
    assert output.manager.is_crowded
    stored = set(output.points) - set(output.dropped)
    assert len(stored) <= MAX_TRACKS + MAX_ACTIVE_TRACKS
    assert output.manager.primary_track == 1
    assert output.frame_indexes(1) == list(range(count))
    for track in stored:
        assert output.frame_indexes(track) == sorted(set(output.frame_indexes(track)))
        assert set(seen[track]) <= set(output.frame_indexes(track))


def test_simultaneous_tracks_over_the_limit_are_left_out() -> None:
    seen = {track: range(40) for track in range(1, MAX_ACTIVE_TRACKS + 4)}
    output = run_track_manager(frames_of(seen, 40))
    assert output.manager.is_crowded
    assert set(output.points) == set(range(1, MAX_ACTIVE_TRACKS + 1))


def test_track_left_out_of_a_crowd_gets_points_once_there_is_room() -> None:
    late = MAX_ACTIVE_TRACKS + 1
    seen: dict[int, Sequence[int]] = {track: range(CHUNK) for track in range(1, late)}
    seen[late] = range(40)  # left out in the first chunk, whose frames stay in the window
    output = run_track_manager(frames_of(seen, 40))
    assert output.manager.is_crowded
    assert output.manager.primary_track == late
    estimated = [each.frame.index for each in output.points[late] if each.estimate is not None]
    assert estimated == list(range(CHUNK, 40))
