"""Tracking of several drawn people through crossings, absences and cuts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pytest

from service.faces.detections import FaceFinder, MeshTrackerSnapshot, TrackedDetection
from service.faces.finder import open_face_finder
from service.serialization import decode, encode
from service.settings import Settings
from training.synthetic.group_scene import GroupScene, MotionPath, SceneActor

MODELS = Settings().face_models_dir
HEIGHT, WIDTH, RATE_HZ = 270, 480, 12
ANNE, BEN, CARL = 251, 205, 114


def stand_at(x: float, size: float = 0.22) -> MotionPath:
    return lambda _: (x, 0.5, size)


def walk_between(start: float, end: float, seconds: float, size: float = 0.22) -> MotionPath:
    return lambda time: (start + (end - start) * min(time / seconds, 1.0), 0.5, size)


def absent_between(path: MotionPath, start_seconds: float, end_seconds: float) -> MotionPath:
    return lambda time: None if start_seconds <= time < end_seconds else path(time)


def make_finder(max_faces: int = 6, min_pixels: float = 20.0) -> FaceFinder:
    return open_face_finder(MODELS, None, max_faces=max_faces, min_pixels=min_pixels)


def count_tracks_by_actor(
    roles: Mapping[int, MotionPath], seconds: float, face_finder: FaceFinder
) -> dict[int, Counter[int]]:
    """Count how often each actor's face got each track; actor 0: the face is of no actor."""
    scene = GroupScene(
        [SceneActor(seed=seed, path=path) for seed, path in roles.items()],
        height=HEIGHT,
        width=WIDTH,
    )
    tracks: dict[int, Counter[int]] = defaultdict(Counter)
    for step in range(round(seconds * RATE_HZ)):
        faces = face_finder.find(scene.render_frame(step / RATE_HZ), step / RATE_HZ)
        assert len({face.track for face in faces}) == len(faces)
        for face in faces:
            tracks[nearest_actor(face, roles, step / RATE_HZ)][face.track] += 1
    return tracks


def nearest_actor(face: TrackedDetection, roles: Mapping[int, MotionPath], time: float) -> int:
    """Find the actor with the nearest nose, the front one of two; 0: none is near."""
    nearest: dict[int, float] = {}
    for seed, path in roles.items():
        place = path(time)
        if place is not None:
            x, _, size = place
            nearest[seed] = abs(face.landmarks[2][0] / WIDTH - x) / (size * HEIGHT / WIDTH)
    near = {seed: distance for seed, distance in nearest.items() if distance < 0.6}
    return min(reversed(near), key=near.__getitem__, default=0)


def single_track_of(tracks: Counter[int], *, min_count: int) -> int:
    """Return the one track that an actor had; it may have others for up to two pictures."""
    ((track, times),) = ((t, n) for t, n in tracks.items() if n > 2)
    assert times >= min_count
    return track


def test_crossing_people_keep_their_track_ids() -> None:
    tracks = count_tracks_by_actor(
        {ANNE: walk_between(0.2, 0.8, 3.5), BEN: walk_between(0.8, 0.2, 3.5)}, 4.5, make_finder()
    )
    assert single_track_of(tracks[ANNE], min_count=40) != single_track_of(tracks[BEN], min_count=45)
    assert not tracks[0]


def test_returning_person_is_reidentified_elsewhere() -> None:
    def change_places(time: float) -> tuple[float, float, float]:
        return (0.25 if time < 2 else 0.75), 0.5, 0.22

    roles = {ANNE: absent_between(change_places, 1.5, 5.0), BEN: stand_at(0.5)}
    tracks = count_tracks_by_actor(roles, 8.0, make_finder())
    assert single_track_of(tracks[ANNE], min_count=25) != single_track_of(tracks[BEN], min_count=90)


def test_people_who_swap_places_while_absent_are_reidentified() -> None:
    roles = {
        ANNE: absent_between(lambda time: (0.3 if time < 2 else 0.7, 0.5, 0.22), 1.0, 2.5),
        BEN: absent_between(lambda time: (0.7 if time < 2 else 0.3, 0.5, 0.22), 1.0, 2.5),
    }
    tracks = count_tracks_by_actor(roles, 4.0, make_finder())
    assert single_track_of(tracks[ANNE], min_count=25) != single_track_of(tracks[BEN], min_count=25)


def test_shot_change_to_another_face_starts_another_track() -> None:
    """Shot and counter-shot: the picture cuts to another face and back."""
    roles: dict[int, MotionPath] = {
        ANNE: lambda time: (0.5, 0.5, 0.3) if int(time) % 2 == 0 else None,
        BEN: lambda time: (0.52, 0.5, 0.3) if int(time) % 2 else None,
    }
    tracks = count_tracks_by_actor(roles, 4.0, make_finder())
    assert single_track_of(tracks[ANNE], min_count=23) != single_track_of(tracks[BEN], min_count=23)


def test_new_face_is_found_beside_a_tracked_one() -> None:
    roles = {ANNE: stand_at(0.3), BEN: absent_between(stand_at(0.7), 0.0, 1.0)}
    seconds = 3.0
    tracks = count_tracks_by_actor(roles, seconds, make_finder())
    assert single_track_of(tracks[ANNE], min_count=round(seconds * RATE_HZ)) == 1
    assert single_track_of(tracks[BEN], min_count=18) == 2


def test_largest_faces_are_tracked_over_the_limit_and_crowding_is_flagged() -> None:
    roles = {ANNE: stand_at(0.2, 0.18), BEN: stand_at(0.5, 0.28), CARL: stand_at(0.82, 0.22)}
    two_faces, three_faces = make_finder(max_faces=2), make_finder(max_faces=3)
    assert set(count_tracks_by_actor(roles, 3.0, two_faces)) == {BEN, CARL}
    assert two_faces.is_crowded
    assert set(count_tracks_by_actor(roles, 3.0, three_faces)) == {ANNE, BEN, CARL}
    assert not three_faces.is_crowded


def test_much_larger_face_replaces_the_smallest_track() -> None:
    roles = {ANNE: stand_at(0.2, 0.18), BEN: absent_between(stand_at(0.65, 0.34), 0.0, 1.0)}
    only = make_finder(max_faces=1)
    tracks = count_tracks_by_actor(roles, 3.0, only)
    assert tracks[ANNE].total() >= RATE_HZ
    assert single_track_of(tracks[BEN], min_count=18) == 2
    assert only.is_crowded


@pytest.mark.parametrize(("min_pixels", "found"), [(20.0, True), (110.0, False)])
def test_faces_below_the_minimum_size_are_ignored(min_pixels: float, found: bool) -> None:
    tracks = count_tracks_by_actor(
        {ANNE: stand_at(0.5, 0.2)}, 0.5, make_finder(min_pixels=min_pixels)
    )
    assert bool(tracks) == found


def test_a_small_face_beside_a_large_one_is_found() -> None:
    tracks = count_tracks_by_actor(
        {ANNE: stand_at(0.3, 0.34), BEN: stand_at(0.78, 0.12)}, 1.5, make_finder()
    )
    assert single_track_of(tracks[BEN], min_count=5) != single_track_of(tracks[ANNE], min_count=18)


def test_longest_tracked_face_comes_first() -> None:
    scene = GroupScene(
        [
            SceneActor(seed=ANNE, path=stand_at(0.3, 0.18)),
            SceneActor(seed=BEN, path=absent_between(stand_at(0.7, 0.28), 0.0, 0.5)),
        ],
        height=HEIGHT,
        width=WIDTH,
    )
    finder = make_finder()
    firsts = [finder.find(scene.render_frame(step / RATE_HZ))[0] for step in range(3 * RATE_HZ)]
    assert {face.track for face in firsts} == {1}
    assert np.ptp([face.box.left for face in firsts]) < 10


def test_finder_resumes_from_saved_state() -> None:
    """The gallery is part of the snapshot; every later face is equal to the bit."""
    roles = {ANNE: stand_at(0.25), BEN: absent_between(stand_at(0.7), 1.0, 2.0)}
    scene = GroupScene(
        [SceneActor(seed=seed, path=path) for seed, path in roles.items()],
        height=HEIGHT,
        width=WIDTH,
    )
    pictures = [scene.render_frame(step / RATE_HZ) for step in range(5 * RATE_HZ)]
    first, second = make_finder(), make_finder()
    before = [first.find(picture) for picture in pictures[:18]]
    second.restore(decode(encode(first.snapshot()), MeshTrackerSnapshot))
    faces = 0
    for picture in pictures[18:]:
        expected, actual = first.find(picture), second.find(picture)
        faces += len(expected)
        assert [(face.track, face.box) for face in actual] == [
            (face.track, face.box) for face in expected
        ]
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(one.landmarks, other.landmarks)
    assert max(len(each) for each in before) == 2
    assert len(before[-1]) == 1
    assert faces > 42 + 5


def test_finder_saved_during_a_search_resumes_the_search() -> None:
    large_and_small = [
        SceneActor(seed=ANNE, path=stand_at(0.3, 0.34)),
        SceneActor(seed=BEN, path=stand_at(0.78, 0.12)),
    ]
    picture = GroupScene(large_and_small, height=HEIGHT, width=WIDTH).render_frame(0)
    finder = make_finder()
    state = b""
    for _ in range(20):
        state = encode(finder.snapshot())
        if len(finder.find(picture)) == 2:
            break
    another = make_finder()
    another.restore(decode(state, MeshTrackerSnapshot))
    assert len(another.find(picture)) == 2
