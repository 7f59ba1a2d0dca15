"""Everyone's points: on one grid of windows, whoever comes late, rests or is dropped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from service.domain.arrays import Floats
from service.domain.cast import MAX_AWAKE, MAX_TRACKS, MIN_FRAMES, REST_WINDOWS, Cast
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.points import PointMaker
from service.domain.timeline import TimelinePoint
from service.domain.windows import Answer, Window

WINDOW, HOP, CHUNK = 30, 20, 8
REST_FRAMES = REST_WINDOWS * WINDOW

Seen = Mapping[int, Sequence[int]]
"""The frames in which each track is seen."""


def box(side: float = 10.0) -> FaceBox:
    return FaceBox(left=1, top=2, width=side, height=side, score=0.9)


def frames_of(seen: Seen, count: int, sides: Mapping[int, float] | None = None) -> list[Frame]:
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


def features_of(frames: Sequence[Frame]) -> tuple[Floats, Floats]:
    """Faces and voices that no two frames or tracks share."""
    faces = [(face.track + frame.index / 1000) for frame in frames for face in frame.faces]
    visual = np.repeat(np.array(faces, np.float32)[:, None], 512, axis=1).reshape(-1, 512)
    voice = np.repeat(np.sin([[frame.index] for frame in frames]).astype(np.float32), 128, axis=1)
    return visual, voice


def answer_to(window: Window) -> Answer:
    """Depends on all of the window, as the fusion does, save on what is masked."""
    features = window.features
    known = features.known[:, None]
    context = (features.visual * known).mean() + (features.audio * known).mean()
    mean = (features.visual[:, :2] + features.audio[:, :2] + context)[: window.frames]
    return Answer(mean=mean.astype(np.float32), spread=np.abs(mean).astype(np.float32))


@dataclass
class Told:
    """What a cast tells of a clip."""

    cast: Cast
    points: dict[int, list[TimelinePoint]] = field(
        default_factory=lambda: defaultdict[int, list[TimelinePoint]](list)
    )
    dropped: list[int] = field(default_factory=list[int])

    def take(self, work: Iterator[tuple[PointMaker, Window]]) -> None:
        for maker, window in work:
            for point in maker.answer(answer_to(window)):
                self.points[point.track].append(point)
        for point in self.cast.take_settled():
            self.points[point.track].append(point)
        self.dropped += self.cast.take_dropped()

    def indexes(self, track: int) -> list[int]:
        return [point.frame.index for point in self.points[track]]


def tell(frames: Sequence[Frame]) -> Told:
    told = Told(Cast(window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.1))
    for first in range(0, len(frames), CHUNK):
        part = frames[first : first + CHUNK]
        told.take(told.cast.add(part, *features_of(part)))
    told.take(told.cast.close())
    return told


def alone_from_the_start(frames: Sequence[Frame], track: int) -> list[TimelinePoint]:
    """The points of one track whose maker was there from the first frame."""
    maker = PointMaker(track=track, window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.1)
    faces, voice = features_of(frames)
    rows = [k for k, face in enumerate(f for each in frames for f in each.faces)
            if face.track == track]  # fmt: skip
    windows = [*maker.add(frames, faces[rows], voice), *maker.close()]
    points = [point for window in windows for point in maker.answer(answer_to(window))]
    return points + list(maker.finish())


@pytest.mark.parametrize("first", [0, 3, 19, 20, 27, 30, 31, 49, 50, 61, 90])
def test_a_late_comer_has_the_points_of_one_who_was_there_unseen(first: int) -> None:
    frames = frames_of({1: range(100), 2: range(first, 100, 2)}, 100)
    told = tell(frames)
    for track in (1, 2):
        expected = alone_from_the_start(frames, track)[told.indexes(track)[0] :]
        assert told.points[track] == expected
    assert told.indexes(2)[0] <= first
    assert sum(point.estimate is not None for point in told.points[2]) == 100 - first


def test_primary_is_who_is_seen_most_then_larger_then_earlier() -> None:
    assert tell(frames_of({1: range(40), 2: range(10, 60)}, 60)).cast.primary == 2
    same = {1: range(40), 2: range(10, 50)}
    assert tell(frames_of(same, 60, {1: 10.0, 2: 12.0})).cast.primary == 2
    assert tell(frames_of(same, 60)).cast.primary == 1


def test_who_is_long_away_rests_and_wakes_with_the_last_face() -> None:
    away = REST_FRAMES + 3 * WINDOW
    back = 20 + away
    frames = frames_of({1: range(back + 50), 2: [*range(20), *range(back, back + 10)]}, back + 50)
    told = tell(frames)
    indexes = told.indexes(2)
    assert indexes == sorted(set(indexes))
    rest = [b for a, b in pairwise(indexes) if b != a + 1]
    assert len(rest) == 1
    assert back - WINDOW < rest[0] <= back
    assert indexes[0] == 0
    assert indexes[-1] == back + 49
    assert all(point.estimate is not None for point in told.points[2])
    assert told.points[1] == alone_from_the_start(frames, 1)


def test_who_leads_never_rests() -> None:
    count = 20 + 2 * REST_FRAMES
    told = tell(frames_of({1: range(20)}, count))
    assert told.indexes(1) == list(range(count))
    assert told.cast.primary == 1


def test_a_track_too_short_to_be_anyone_is_dropped() -> None:
    told = tell(frames_of({1: range(100), 2: range(50, 50 + MIN_FRAMES - 1)}, 100))
    assert told.dropped == [2]
    alone = tell(frames_of({1: [50]}, 100))
    assert (alone.dropped, alone.cast.primary) == ([1], None)


def test_a_short_track_in_a_short_clip_is_kept() -> None:
    told = tell(frames_of({1: [0, 1]}, 3))
    assert (told.dropped, told.cast.primary, told.indexes(1)) == ([], 1, [0, 1, 2])


def test_endless_newcomers_are_bounded_and_who_leads_is_kept() -> None:
    """Every fourth frame somebody new comes for ten frames, and nobody ever returns."""
    count = 4 * (MAX_TRACKS + 80)
    seen: dict[int, Sequence[int]] = {1: range(0, count, 3)}
    seen |= {2 + k: range(4 * k, 4 * k + 10) for k in range(count // 4 - 3)}
    told = tell(frames_of(seen, count))
    assert told.cast.is_crowded
    kept = set(told.points) - set(told.dropped)
    assert len(kept) <= MAX_TRACKS + MAX_AWAKE
    assert told.cast.primary == 1
    assert told.indexes(1) == list(range(count))
    for track in kept:
        assert told.indexes(track) == sorted(set(told.indexes(track)))
        assert set(seen[track]) <= set(told.indexes(track))


def test_more_at_once_than_can_be_are_left_out() -> None:
    seen = {track: range(40) for track in range(1, MAX_AWAKE + 4)}
    told = tell(frames_of(seen, 40))
    assert told.cast.is_crowded
    assert set(told.points) == set(range(1, MAX_AWAKE + 1))
