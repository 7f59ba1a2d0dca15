"""A clip of two people through every real part, with `faces` "primary" and "all"."""

from __future__ import annotations

import csv
import io
from collections import Counter
from fractions import Fraction
from pathlib import Path

import httpx
import numpy as np
import pytest
from circumplex_client import Client, ClipOptions, ClipResult

from training.synthetic.clip import write_clip
from training.synthetic.group_scene import GroupScene, SceneActor

HEIGHT, WIDTH, RATE_HZ, FRAMES = 240, 432, 12, 48
HOST_SEED, VISITOR_SEED = 251, 205
VISITOR_LEAVES_FRAME, VISITOR_RETURNS_FRAME = 16, 30
"""The second person leaves and returns; the first one arrives late and stays."""


def host_position(seconds: float) -> tuple[float, float, float] | None:
    return None if seconds * RATE_HZ < 4 else (0.3, 0.5, 0.22)


def visitor_position(seconds: float) -> tuple[float, float, float] | None:
    is_away = VISITOR_LEAVES_FRAME <= round(seconds * RATE_HZ) < VISITOR_RETURNS_FRAME
    return (
        None if is_away else (0.72 if seconds * RATE_HZ < VISITOR_LEAVES_FRAME else 0.66, 0.5, 0.26)
    )


@pytest.fixture(scope="module")
def two_person_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "pair.mp4"
    scene = GroupScene(
        [
            SceneActor(seed=HOST_SEED, path=host_position),
            SceneActor(seed=VISITOR_SEED, path=visitor_position),
        ],
        height=HEIGHT,
        width=WIDTH,
    )
    images = (scene.render_frame(index / RATE_HZ) for index in range(FRAMES))
    waveform = (0.1 * np.sin(np.arange(4 * 16_000) * 0.2, dtype=np.float32)).astype(np.float32)
    write_clip(path, images, rate=Fraction(RATE_HZ), waveform=waveform)
    return path


@pytest.fixture(scope="module")
def all_faces_result(client: Client, two_person_clip: Path) -> ClipResult:
    return client.annotate(two_person_clip, ClipOptions(faces="all"))


def test_the_longest_visible_face_is_primary_and_has_every_frame(
    all_faces_result: ClipResult,
) -> None:
    host, visitor = sorted(all_faces_result.tracks, key=lambda track: -track.observed_frames)
    assert (host.primary, visitor.primary, all_faces_result.track) == (True, False, host.id)
    assert all_faces_result.index == list(range(FRAMES))
    assert all_faces_result.observed == [reason is None for reason in all_faces_result.missing]
    assert sum(all_faces_result.observed) == host.observed_frames > visitor.observed_frames
    assert all_faces_result.valence[: all_faces_result.observed.index(True)] == [
        None
    ] * all_faces_result.observed.index(True)
    left_edges = [left for left in all_faces_result.face.left if left is not None]
    assert max(left_edges) < 0.5 * WIDTH


def test_every_track_has_its_own_timeline(all_faces_result: ClipResult) -> None:
    (visitor,) = (track for track in all_faces_result.tracks if not track.primary)
    assert visitor.frames is not None
    assert visitor.frames.index == list(range(visitor.frames.index[0], FRAMES))
    assert (visitor.first_time, visitor.last_time) == (
        visitor.frames.time[0],
        visitor.frames.time[-1],
    )
    absent_rows = [
        visitor.frames.index.index(index)
        for index in range(VISITOR_LEAVES_FRAME, VISITOR_RETURNS_FRAME)
    ]
    assert {visitor.frames.missing[row] for row in absent_rows} == {"face_not_found"}
    assert {visitor.frames.face.x[row] for row in absent_rows} == {None}
    assert sum(visitor.frames.observed) == visitor.observed_frames >= FRAMES - VISITOR_RETURNS_FRAME
    assert all(value is not None for value in visitor.frames.valence)
    assert visitor.frames.valence != all_faces_result.valence[visitor.frames.index[0] :]


def test_boxes_are_in_pixels_and_relative(all_faces_result: ClipResult) -> None:
    assert all_faces_result.media["width"] == WIDTH
    for row in (row for row, seen in enumerate(all_faces_result.observed) if seen):
        left, x, w = (
            column[row]
            for column in (
                all_faces_result.face.left,
                all_faces_result.face.x,
                all_faces_result.face.w,
            )
        )
        assert left is not None
        assert x == pytest.approx(left / WIDTH, abs=1e-6)
        assert w == pytest.approx((all_faces_result.face.width[row] or 0) / WIDTH, abs=1e-6)
        height = all_faces_result.face.height[row]
        assert height is not None
        assert all_faces_result.face.h[row] == pytest.approx(height / HEIGHT, abs=1e-6)


def test_primary_only_has_the_same_values(
    client: Client, address: str, two_person_clip: Path, all_faces_result: ClipResult
) -> None:
    job = client.wait(client.submit(two_person_clip).id)
    alone = client.result(job.id)
    assert (alone.track, alone.valence, alone.face) == (
        all_faces_result.track,
        all_faces_result.valence,
        all_faces_result.face,
    )
    assert [track.id for track in alone.tracks] == [track.id for track in all_faces_result.tracks]
    assert {track.frames for track in alone.tracks} == {None}
    table = httpx.get(f"{address}/v1/jobs/{job.id}/result", params={"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert Counter(row["track"] for row in rows) == {str(all_faces_result.track): FRAMES}


def test_csv_of_all_faces_is_in_long_format(
    client: Client, address: str, two_person_clip: Path, all_faces_result: ClipResult
) -> None:
    job = client.wait(client.submit(two_person_clip, ClipOptions(faces="all")).id)
    table = httpx.get(f"{address}/v1/jobs/{job.id}/result", params={"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    (visitor,) = (track for track in all_faces_result.tracks if not track.primary)
    assert visitor.frames is not None
    expected = {str(all_faces_result.track): FRAMES, str(visitor.id): len(visitor.frames)}
    assert Counter(row["track"] for row in rows) == expected
    valences = [float(row["valence"]) for row in rows if row["track"] == str(visitor.id)]
    assert valences == visitor.frames.valence
