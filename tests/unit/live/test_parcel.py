"""A cast that is packed and unpacked between two blocks goes on as if nothing had been."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from service.domain.cast import CAST_PARTS, Cast
from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.points import PointMaker
from service.domain.timeline import TimelinePoint
from service.domain.windows import Answer, Window
from service.live.parcel import Parcels, ParcelUnreadable

WINDOW, HOP, BLOCK = 20, 13, 8
FRAMES = 60 * BLOCK
PARCELS = Parcels(CAST_PARTS)


class Colour(StrEnum):
    RED = "red"


@dataclass(slots=True)
class Thing:
    value: Any


def answer_to(window: Window) -> Answer:
    features = window.features
    mean = (features.visual[:, :2] * features.known[:, None] + features.audio[:, :2])[
        : window.frames
    ]
    return Answer(mean=mean + np.float32(mean.mean()), spread=np.abs(mean))


def drawn_frames(seed: int) -> list[Frame]:
    """Twelve people who come, go, and come back after their tracks have gone to rest."""
    draw = random.Random(seed)
    away = {track: draw.randrange(0, 200) for track in range(1, 13)}
    there = dict.fromkeys(away, 0)
    frames: list[Frame] = []
    for index in range(FRAMES):
        faces: list[TrackedFace] = []
        for track in away:
            if away[track]:
                away[track] -= 1
                there[track] = 0 if away[track] else draw.choice((1, 3, 40, 150))
            elif there[track]:
                there[track] -= 1
                away[track] = 0 if there[track] else draw.choice((2, 30, 120, 300))
                side = draw.uniform(20, 90)
                box = FaceBox(left=draw.random(), top=0, width=side, height=side, score=0.9)
                faces.append(TrackedFace(track=track, box=box))
        seconds = index / 25 + draw.uniform(0, 0.02)
        frames.append(Frame(index=index, time_seconds=seconds, faces=tuple(faces)))
    return frames


def taken(cast: Cast, work: Iterator[tuple[PointMaker, Window]]) -> list[TimelinePoint | int]:
    told: list[TimelinePoint | int] = []
    for maker, window in work:
        told += maker.answer(answer_to(window))
    return [*told, *cast.take_settled(), *cast.take_dropped()]


def history(seed: int, *, is_packed: bool) -> list[object]:
    """All that a cast tells, block by block."""
    numbers = np.random.default_rng(seed)
    frames = drawn_frames(seed)
    cast = Cast(window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.2)
    told: list[object] = []
    for first in range(0, FRAMES, BLOCK):
        block = frames[first : first + BLOCK]
        faces = sum(len(frame.faces) for frame in block)
        visual = numbers.standard_normal((faces, 512), np.float32)
        voice = numbers.standard_normal((BLOCK, 128), np.float32)
        told += [*taken(cast, cast.add(block, visual, voice)), cast.primary, cast.settled_frames]
        if is_packed:
            cast = PARCELS.unpack(PARCELS.pack(cast))
    return [*told, *taken(cast, cast.close()), cast.primary, cast.is_crowded]


@pytest.mark.parametrize("seed", range(2))
def test_a_cast_packed_after_every_block_tells_what_one_that_never_was_does(seed: int) -> None:
    expected = history(seed, is_packed=False)
    tracks = {each.track for each in expected if isinstance(each, TimelinePoint)}
    assert len(tracks) > 8
    assert history(seed, is_packed=True) == expected


def test_one_object_stays_one_and_every_bit_is_kept() -> None:
    parcels = Parcels((Thing, Colour))
    shared = Thing([0.1 + 0.2, -0.0, 5e-324, True, None, "ä"])
    arrays = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]))
    root = {1: shared, (2, "b"): shared, "c": deque([Colour.RED, b"\x00\xff"], 3), "d": arrays}
    seen = parcels.unpack(parcels.pack(root))
    assert seen[1] is seen[2, "b"]
    assert repr(seen[1].value) == repr(shared.value)
    assert (seen["c"], seen["c"].maxlen) == (root["c"], 3)
    assert type(seen["c"][0]) is Colour
    for before, after in zip(arrays, seen["d"], strict=True):
        np.testing.assert_array_equal(before, after, strict=True)
    assert len(parcels.pack([arrays[0]] * 50)) < len(parcels.pack([arrays[0]])) + 50 * 24


def test_what_no_parcel_holds_is_refused() -> None:
    for value in (object(), {1, 2}, Thing(1), np.zeros(1, np.complex64), np.float32(1)):
        with pytest.raises(TypeError):
            Parcels(()).pack(value)


def test_a_parcel_that_is_cut_or_of_other_classes_is_unreadable() -> None:
    parcel = Parcels((Thing,)).pack(Thing(np.zeros(9, np.float32)))
    for broken in (b"", b"CXP1", parcel[:40], parcel[:-1], parcel + b"x", b"X" + parcel[1:]):
        with pytest.raises(ParcelUnreadable):
            Parcels((Thing,)).unpack(broken)
    with pytest.raises(ParcelUnreadable):
        Parcels(()).unpack(parcel)
    assert Parcels((Thing,)).layout != Parcels(CAST_PARTS).layout
