"""Tracks of known casts: one person is one track, and two people are two."""

from __future__ import annotations

from functools import cache

import pytest

from service.faces.finder import open_face_finder
from service.settings import Settings
from tests.casts.catalogue import one_person_casts, several_people_casts
from tests.casts.groups import group_casts
from tests.casts.score import CastScore, score_cast
from tests.casts.shot import Shot, render_person

RATE_HZ = 12.5
SECONDS = 4.0
PEOPLE = (251, 205, 114)


@cache
def render_shot(person: int) -> Shot:
    return render_person(person, seconds=SECONDS, rate_hz=RATE_HZ)


def score(shot: Shot) -> CastScore:
    return score_cast(shot, open_face_finder(Settings().face_models_dir, None))


@pytest.mark.parametrize(
    "cast",
    [
        "fade from white",
        "fade to black and back",
        "white flash",
        "warmer at once",
        "darker at once",
        "coloured lights",
        "flicker",
        "grey half-way",
        "hand before the face",
        "box before the face, short",
        "head and body hidden",
        "blurred",
        "zoom in",
        "zoom at once",
        "jump cut with other light",
        "every fifth picture, warmer",
    ],
)
def test_one_person_in_one_shot_is_one_track(cast: str) -> None:
    result = score(one_person_casts(render_shot(PEOPLE[1]))[cast]())
    assert result.found >= 8
    assert (result.switches, result.splits, result.primary_missed) == (0, 0, 0)


@pytest.mark.parametrize(
    ("cast", "min_purity"),
    [
        ("shot and counter-shot", 1.0),
        ("one cut", 1.0),
        ("three in turn", 1.0),
        ("cut after a white flash", 1.0),
        ("cut into other light", 1.0),
        ("black between", 1.0),
        ("seats swapped over a cut", 1.0),
        ("fade through black", 0.9),
        ("dissolve, 12 pictures", 0.7),
        ("wipe", 0.7),
        ("one half changes", 1.0),
    ],
)
def test_people_in_the_same_place_are_separate_tracks(cast: str, min_purity: float) -> None:
    result = score(several_people_casts(*map(render_shot, PEOPLE))[cast]())
    assert result.people >= 2
    assert result.purity >= min_purity
    assert result.splits <= result.people - 1


@pytest.mark.parametrize("cast", ["two, light changes", "two, fade to black and back"])
def test_two_people_keep_their_tracks_while_the_light_changes(cast: str) -> None:
    result = score(several_people_casts(*map(render_shot, PEOPLE))[cast]())
    assert result.people == 2
    assert (result.purity, result.splits, result.primary_missed) == (1, 0, 0)


@pytest.mark.parametrize(
    ("cast", "min_purity"),
    [("crossing", 0.95), ("leaves and returns in other light", 1.0)],
)
def test_people_who_meet_or_return_keep_their_tracks(cast: str, min_purity: float) -> None:
    result = score(group_casts(*PEOPLE, rate_hz=RATE_HZ)[cast]())
    assert result.people == 2
    assert result.purity >= min_purity
    assert result.primary_missed <= 0.05
