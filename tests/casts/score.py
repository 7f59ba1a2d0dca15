"""Score of a cast: purity of tracks, switches and splits of people, misses of the primary."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from service.faces.detections import FaceFinder
from tests.casts.shot import LabelledPicture, find_person

MIN_SPLIT_PICTURES = 2
"""A track that a person had for fewer pictures is no split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CastScore:
    """Result of tracking one cast.

    purity: share of the faces whose person is the one that their track has most often. switches:
    changes of a person's track from one of their faces to the next. splits: tracks of a person
    beyond one. found: faces. unknown: of nobody. primary_missed: share of the primary person's
    faces that are not the primary track's: `face_not_found` where the face was found.
    """

    people: int
    found: int
    unknown: int
    purity: float
    switches: int
    splits: int
    primary_missed: float
    seconds: float


def score_cast(pictures: Iterable[LabelledPicture], finder: FaceFinder) -> CastScore:
    """Track the faces of labelled pictures, and compare the tracks with the labels."""
    history: dict[str, list[int]] = defaultdict(list)
    people: dict[int, Counter[str]] = defaultdict(Counter)
    unknown, seconds = 0, 0.0
    for picture in pictures:
        started = time.perf_counter()
        faces = finder.find(picture.pixels)
        seconds += time.perf_counter() - started
        for face in faces:
            x, y = face.landmarks[2]
            person = find_person(picture.places, float(x), float(y))
            if person is None:
                unknown += 1
            else:
                history[person].append(face.track)
                people[face.track][person] += 1
    return _summarise(history, people, unknown, seconds)


def _summarise(
    history: dict[str, list[int]], people: dict[int, Counter[str]], unknown: int, seconds: float
) -> CastScore:
    found = sum(len(tracks) for tracks in history.values())
    primary = max(people, key=lambda track: people[track].total(), default=None)
    missed = 0.0
    if primary is not None:
        (person, _), *_ = people[primary].most_common(1)
        missed = 1 - history[person].count(primary) / len(history[person])
    return CastScore(
        people=len(history),
        found=found,
        unknown=unknown,
        purity=sum(max(each.values()) for each in people.values()) / max(found, 1),
        switches=sum(_count_changes(tracks) for tracks in history.values()),
        splits=sum(
            sum(n >= MIN_SPLIT_PICTURES for n in Counter(tracks).values()) - 1
            for tracks in history.values()
        ),
        primary_missed=missed,
        seconds=seconds,
    )


def _count_changes(tracks: list[int]) -> int:
    return sum(one != other for one, other in pairwise(tracks))
