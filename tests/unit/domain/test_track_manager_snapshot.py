"""Snapshots of a track manager: one restored between two blocks gives the same results."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from service.domain.clip import FaceBox, Frame, TimelinePoint, TrackedFace
from service.domain.track_manager import TrackManager, TrackManagerSnapshot
from service.domain.track_pipeline import TrackPipeline
from service.domain.uncertainty import FACTORS, StdMeaning, UncertaintyModel
from service.domain.windows import FusionOutput, Window
from service.serialization import decode, encode

WINDOW, HOP, BLOCK = 20, 13, 8
FRAMES = 60 * BLOCK
CLASSES = 3
UNCERTAINTY = UncertaintyModel(
    meaning=StdMeaning.CALIBRATED,
    weights=dict.fromkeys(FACTORS, (0.1, 0.2)) | {"constant": (-2.0, -1.5)},
    silence=(0.0,) * 128,
    silence_radius=11.3,
)
"""About half of the voices are nearer to silence than its radius."""


def fake_fusion(window: Window) -> FusionOutput:
    features = window.features
    mean = (features.visual[:, :2] * features.mask[:, None] + features.audio[:, :2])[
        : window.frames
    ]
    return FusionOutput(mean=mean + np.float32(mean.mean()), spread=np.abs(mean))


def random_frames(seed: int) -> list[Frame]:
    """Twelve people who appear, leave, and return after their tracks were suspended."""
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
    manager: TrackManager, work: Iterator[tuple[TrackPipeline, Window]]
) -> list[TimelinePoint | int]:
    results: list[TimelinePoint | int] = []
    for pipeline, window in work:
        results += pipeline.add_fusion_output(fake_fusion(window))
    return [*results, *manager.take_final_points(), *manager.take_dropped_tracks()]


def restore_through_bytes(manager: TrackManager) -> TrackManager:
    data = encode(manager.snapshot())
    return TrackManager.from_snapshot(decode(data, TrackManagerSnapshot), manager.uncertainty)


def run_track_manager(seed: int, *, is_restored: bool) -> list[object]:
    """Points, dropped and primary tracks, block by block."""
    numbers = np.random.default_rng(seed)
    frames = random_frames(seed)
    manager = TrackManager(
        window_frames=WINDOW,
        hop_frames=HOP,
        smoothing_seconds=0.2,
        uncertainty=UNCERTAINTY,
        class_count=CLASSES,
    )
    results: list[object] = []
    for first in range(0, FRAMES, BLOCK):
        block = frames[first : first + BLOCK]
        faces = sum(len(frame.faces) for frame in block)
        visual = numbers.standard_normal((faces, 512), np.float32)
        voice = numbers.standard_normal((BLOCK, 128), np.float32)
        results += [
            *process_windows(manager, manager.add(block, visual, voice)),
            manager.primary_track,
            manager.finalized_frames,
        ]
        if is_restored:
            manager = restore_through_bytes(manager)
    return [
        *results,
        *process_windows(manager, manager.close()),
        manager.primary_track,
        manager.is_crowded,
    ]


@pytest.mark.parametrize("seed", range(2))
def test_track_manager_restored_after_every_block_gives_the_same_results(seed: int) -> None:
    expected = run_track_manager(seed, is_restored=False)
    points = [each for each in expected if isinstance(each, TimelinePoint)]
    assert len({each.track for each in points}) > 8
    assert {len(each.class_probabilities) for each in points if each.face} == {CLASSES}
    assert {each.class_probabilities for each in points if each.face is None} == {()}
    assert run_track_manager(seed, is_restored=True) == expected
