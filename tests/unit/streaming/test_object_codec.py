"""A cast that is packed and unpacked between two blocks goes on as if nothing had been."""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from service.domain.clip import FaceBox, Frame, TrackedFace
from service.domain.timeline import TimelinePoint
from service.domain.track_manager import TRACK_MANAGER_CLASSES, TrackManager
from service.domain.track_pipeline import TrackPipeline
from service.domain.windows import FusionOutput, Window
from service.streaming.resume.object_codec import EncodedObjectInvalid, ObjectCodec

WINDOW, HOP, BLOCK = 20, 13, 8
FRAMES = 60 * BLOCK
CODEC = ObjectCodec(TRACK_MANAGER_CLASSES)


class Colour(StrEnum):
    RED = "red"


@dataclass(slots=True)
class SampleObject:
    value: Any


def fake_fusion(window: Window) -> FusionOutput:
    features = window.features
    mean = (features.visual[:, :2] * features.mask[:, None] + features.audio[:, :2])[
        : window.frames
    ]
    return FusionOutput(mean=mean + np.float32(mean.mean()), spread=np.abs(mean))


def random_frames(seed: int) -> list[Frame]:
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


def process_windows(
    cast: TrackManager, work: Iterator[tuple[TrackPipeline, Window]]
) -> list[TimelinePoint | int]:
    told: list[TimelinePoint | int] = []
    for maker, window in work:
        told += maker.add_fusion_output(fake_fusion(window))
    return [*told, *cast.take_final_points(), *cast.take_dropped_tracks()]


def run_track_manager(seed: int, *, repacks_each_block: bool) -> list[object]:
    """All that a cast tells, block by block."""
    numbers = np.random.default_rng(seed)
    frames = random_frames(seed)
    cast = TrackManager(window_frames=WINDOW, hop_frames=HOP, smoothing_seconds=0.2)
    told: list[object] = []
    for first in range(0, FRAMES, BLOCK):
        block = frames[first : first + BLOCK]
        faces = sum(len(frame.faces) for frame in block)
        visual = numbers.standard_normal((faces, 512), np.float32)
        voice = numbers.standard_normal((BLOCK, 128), np.float32)
        told += [
            *process_windows(cast, cast.add(block, visual, voice)),
            cast.primary_track,
            cast.finalized_frames,
        ]
        if repacks_each_block:
            cast = CODEC.decode(CODEC.encode(cast))
    return [*told, *process_windows(cast, cast.close()), cast.primary_track, cast.is_crowded]


@pytest.mark.parametrize("seed", range(2))
def test_track_manager_repacked_after_every_block_gives_the_same_results(seed: int) -> None:
    expected = run_track_manager(seed, repacks_each_block=False)
    tracks = {each.track for each in expected if isinstance(each, TimelinePoint)}
    assert len(tracks) > 8
    assert run_track_manager(seed, repacks_each_block=True) == expected


def test_shared_references_and_exact_values_round_trip() -> None:
    parcels = ObjectCodec((SampleObject, Colour))
    shared = SampleObject([0.1 + 0.2, -0.0, 5e-324, True, None, "ä"])
    arrays = (np.arange(6, dtype=np.float32).reshape(2, 3), np.array([True, False]))
    root = {1: shared, (2, "b"): shared, "c": deque([Colour.RED, b"\x00\xff"], 3), "d": arrays}
    seen = parcels.decode(parcels.encode(root))
    assert seen[1] is seen[2, "b"]
    assert repr(seen[1].value) == repr(shared.value)
    assert (seen["c"], seen["c"].maxlen) == (root["c"], 3)
    assert type(seen["c"][0]) is Colour
    for before, after in zip(arrays, seen["d"], strict=True):
        np.testing.assert_array_equal(before, after, strict=True)
    assert len(parcels.encode([arrays[0]] * 50)) < len(parcels.encode([arrays[0]])) + 50 * 24


def test_unsupported_types_are_refused() -> None:
    for value in (object(), {1, 2}, SampleObject(1), np.zeros(1, np.complex64), np.float32(1)):
        with pytest.raises(TypeError):
            ObjectCodec(()).encode(value)


def test_truncated_or_foreign_data_is_unreadable() -> None:
    parcel = ObjectCodec((SampleObject,)).encode(SampleObject(np.zeros(9, np.float32)))
    for broken in (b"", b"CXP1", parcel[:40], parcel[:-1], parcel + b"x", b"X" + parcel[1:]):
        with pytest.raises(EncodedObjectInvalid):
            ObjectCodec((SampleObject,)).decode(broken)
    with pytest.raises(EncodedObjectInvalid):
        ObjectCodec(()).decode(parcel)
    assert (
        ObjectCodec((SampleObject,)).layout_hash != ObjectCodec(TRACK_MANAGER_CLASSES).layout_hash
    )
