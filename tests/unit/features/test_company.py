"""Several drawn people in one picture: who is who, through crossings, absences and cuts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import pytest

from service.domain.state import pack, unpack
from service.features.finder import open_finder
from service.features.sighting import FaceFinder, Sighting
from service.features.tracker import LOOK_EVERY
from service.settings import Settings
from training.synthetic.company import Company, Role, Way

MODELS = Settings().face_models_dir
HEIGHT, WIDTH, RATE_HZ = 270, 480, 12
ANNE, BEN, CARL = 251, 205, 114


def stays(x: float, size: float = 0.22) -> Way:
    return lambda _: (x, 0.5, size)


def walks(start: float, end: float, seconds: float, size: float = 0.22) -> Way:
    return lambda time: (start + (end - start) * min(time / seconds, 1.0), 0.5, size)


def while_away(way: Way, left: float, back: float) -> Way:
    return lambda time: None if left <= time < back else way(time)


def finder(max_faces: int = 6, min_pixels: float = 20.0) -> FaceFinder:
    return open_finder(MODELS, None, max_faces=max_faces, min_pixels=min_pixels)


def follow(
    roles: Mapping[int, Way], seconds: float, found_by: FaceFinder
) -> dict[int, Counter[int]]:
    """How often each actor's face got each track's number; 0 is nobody's face."""
    company = Company(
        [Role(seed=seed, way=way) for seed, way in roles.items()], height=HEIGHT, width=WIDTH
    )
    tracks: dict[int, Counter[int]] = defaultdict(Counter)
    for step in range(round(seconds * RATE_HZ)):
        faces = found_by.find(company.picture(step / RATE_HZ))
        assert len({face.track for face in faces}) == len(faces)
        for face in faces:
            tracks[whose(face, roles, step / RATE_HZ)][face.track] += 1
    return tracks


def whose(face: Sighting, roles: Mapping[int, Way], time: float) -> int:
    """The actor whose nose is nearest, the one in front where two are; 0: none is near."""
    nearest: dict[int, float] = {}
    for seed, way in roles.items():
        place = way(time)
        if place is not None:
            x, _, size = place
            nearest[seed] = abs(face.points[2][0] / WIDTH - x) / (size * HEIGHT / WIDTH)
    near = {seed: distance for seed, distance in nearest.items() if distance < 0.6}
    return min(reversed(near), key=near.__getitem__, default=0)


def number_of(tracks: Counter[int], *, least: int) -> int:
    """The one number that an actor had at least so often; strays of a picture or two aside."""
    ((track, times),) = ((t, n) for t, n in tracks.items() if n > 2)
    assert times >= least
    return track


def test_two_who_cross_keep_their_numbers() -> None:
    seen = follow({ANNE: walks(0.2, 0.8, 3.5), BEN: walks(0.8, 0.2, 3.5)}, 4.5, finder())
    assert number_of(seen[ANNE], least=40) != number_of(seen[BEN], least=45)
    assert not seen[0]


def test_who_leaves_and_returns_elsewhere_has_the_old_number() -> None:
    def changes_seats(time: float) -> tuple[float, float, float]:
        return (0.25 if time < 2 else 0.75), 0.5, 0.22

    roles = {ANNE: while_away(changes_seats, 1.5, 5.0), BEN: stays(0.5)}
    seen = follow(roles, 8.0, finder())
    assert number_of(seen[ANNE], least=25) != number_of(seen[BEN], least=90)


def test_two_who_change_seats_while_away_are_told_apart() -> None:
    roles = {
        ANNE: while_away(lambda time: (0.3 if time < 2 else 0.7, 0.5, 0.22), 1.0, 2.5),
        BEN: while_away(lambda time: (0.7 if time < 2 else 0.3, 0.5, 0.22), 1.0, 2.5),
    }
    seen = follow(roles, 4.0, finder())
    assert number_of(seen[ANNE], least=25) != number_of(seen[BEN], least=25)


def test_a_new_face_in_the_place_of_another_is_someone_else() -> None:
    """Shot and counter-shot: the picture changes at once, and back again."""
    roles = {
        ANNE: lambda time: (0.5, 0.5, 0.3) if int(time) % 2 == 0 else None,
        BEN: lambda time: (0.52, 0.5, 0.3) if int(time) % 2 else None,
    }
    seen = follow(roles, 4.0, finder())
    assert number_of(seen[ANNE], least=23) != number_of(seen[BEN], least=23)


def test_a_late_comer_is_found_beside_someone_who_is_followed() -> None:
    roles = {ANNE: stays(0.3), BEN: while_away(stays(0.7), 0.0, 1.0)}
    seconds = 1.0 + 2 * LOOK_EVERY / RATE_HZ
    seen = follow(roles, seconds, finder())
    assert number_of(seen[ANNE], least=round(seconds * RATE_HZ)) == 1
    assert number_of(seen[BEN], least=LOOK_EVERY) == 2


def test_of_too_many_the_largest_are_followed_and_it_is_said() -> None:
    roles = {ANNE: stays(0.2, 0.18), BEN: stays(0.5, 0.28), CARL: stays(0.82, 0.22)}
    few, enough = finder(max_faces=2), finder(max_faces=3)
    assert set(follow(roles, 3.0, few)) == {BEN, CARL}
    assert few.is_crowded
    assert set(follow(roles, 3.0, enough)) == {ANNE, BEN, CARL}
    assert not enough.is_crowded


def test_a_much_larger_face_takes_the_place_of_the_smallest() -> None:
    roles = {ANNE: stays(0.2, 0.18), BEN: while_away(stays(0.65, 0.34), 0.0, 1.0)}
    only = finder(max_faces=1)
    seen = follow(roles, 1.0 + 2 * LOOK_EVERY / RATE_HZ, only)
    assert seen[ANNE].total() >= RATE_HZ
    assert number_of(seen[BEN], least=LOOK_EVERY) == 2
    assert only.is_crowded


@pytest.mark.parametrize(("min_pixels", "found"), [(20.0, True), (110.0, False)])
def test_faces_below_the_least_size_are_let_be(min_pixels: float, found: bool) -> None:
    seen = follow({ANNE: stays(0.5, 0.2)}, 0.5, finder(min_pixels=min_pixels))
    assert bool(seen) == found


def test_a_small_face_beside_a_large_one_is_found() -> None:
    seen = follow({ANNE: stays(0.3, 0.34), BEN: stays(0.78, 0.12)}, 1.5, finder())
    assert number_of(seen[BEN], least=5) != number_of(seen[ANNE], least=18)


def test_the_face_that_has_been_there_most_comes_first() -> None:
    company = Company(
        [
            Role(seed=ANNE, way=stays(0.3, 0.18)),
            Role(seed=BEN, way=while_away(stays(0.7, 0.28), 0.0, 0.5)),
        ],
        height=HEIGHT,
        width=WIDTH,
    )
    found_by = finder()
    firsts = [found_by.find(company.picture(step / RATE_HZ))[0] for step in range(3 * RATE_HZ)]
    assert {face.track for face in firsts} == {1}
    assert np.ptp([face.box.left for face in firsts]) < 10


def test_another_finder_goes_on_where_one_was_saved() -> None:
    """While somebody is away, the gallery goes along; every face is found again to the bit."""
    roles = {ANNE: stays(0.25), BEN: while_away(stays(0.7), 1.0, 2.0)}
    company = Company(
        [Role(seed=seed, way=way) for seed, way in roles.items()], height=HEIGHT, width=WIDTH
    )
    pictures = [company.picture(step / RATE_HZ) for step in range(5 * RATE_HZ)]
    first, second = finder(), finder()
    before = [first.find(picture) for picture in pictures[:18]]
    second.restore(unpack(pack(first.save())))
    faces = 0
    for picture in pictures[18:]:
        expected, actual = first.find(picture), second.find(picture)
        faces += len(expected)
        assert [(face.track, face.box) for face in actual] == [
            (face.track, face.box) for face in expected
        ]
        for one, other in zip(actual, expected, strict=True):
            np.testing.assert_array_equal(one.points, other.points)
    assert max(len(each) for each in before) == 2
    assert len(before[-1]) == 1
    assert faces > 42 + 5


def test_a_finder_saved_within_a_search_finds_what_the_search_would_have() -> None:
    large_and_small = [Role(seed=ANNE, way=stays(0.3, 0.34)), Role(seed=BEN, way=stays(0.78, 0.12))]
    picture = Company(large_and_small, height=HEIGHT, width=WIDTH).picture(0)
    found_by = finder()
    for _ in range(20):
        state = pack(found_by.save())
        if len(found_by.find(picture)) == 2:
            break
    another = finder()
    another.restore(unpack(state))
    assert len(another.find(picture)) == 2
