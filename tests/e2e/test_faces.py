"""Several people through every real part: a timeline for whoever is there most, or for all."""

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
HOST_SEED, GUEST_SEED = 251, 205
GUEST_LEAVES_FRAME, GUEST_RETURNS_FRAME = 16, 30
"""The guest's, in frames; the host stays, and is late."""


def host_position(seconds: float) -> tuple[float, float, float] | None:
    return None if seconds * RATE_HZ < 4 else (0.3, 0.5, 0.22)


def guest_position(seconds: float) -> tuple[float, float, float] | None:
    is_away = GUEST_LEAVES_FRAME <= round(seconds * RATE_HZ) < GUEST_RETURNS_FRAME
    return (
        None if is_away else (0.72 if seconds * RATE_HZ < GUEST_LEAVES_FRAME else 0.66, 0.5, 0.26)
    )


@pytest.fixture(scope="module")
def two_person_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "pair.mp4"
    company = GroupScene(
        [
            SceneActor(seed=HOST_SEED, path=host_position),
            SceneActor(seed=GUEST_SEED, path=guest_position),
        ],
        height=HEIGHT,
        width=WIDTH,
    )
    pictures = (company.render_frame(index / RATE_HZ) for index in range(FRAMES))
    waveform = 0.1 * np.sin(np.arange(4 * 16_000) * 0.2, dtype=np.float32)
    write_clip(path, pictures, rate=Fraction(RATE_HZ), waveform=waveform)
    return path


@pytest.fixture(scope="module")
def all_faces_result(client: Client, two_person_clip: Path) -> ClipResult:
    return client.annotate(two_person_clip, ClipOptions(faces="all"))


def test_the_longest_visible_face_is_primary_and_has_every_frame(
    all_faces_result: ClipResult,
) -> None:
    host, guest = sorted(all_faces_result.tracks, key=lambda track: -track.observed_frames)
    assert (host.primary, guest.primary, all_faces_result.track) == (True, False, host.id)
    assert all_faces_result.index == list(range(FRAMES))
    assert all_faces_result.observed == [reason is None for reason in all_faces_result.missing]
    assert sum(all_faces_result.observed) == host.observed_frames > guest.observed_frames
    assert all_faces_result.valence[: all_faces_result.observed.index(True)] == [
        None
    ] * all_faces_result.observed.index(True)
    lefts = [left for left in all_faces_result.face.left if left is not None]
    assert max(lefts) < 0.5 * WIDTH


def test_every_track_has_its_own_timeline(all_faces_result: ClipResult) -> None:
    (guest,) = (track for track in all_faces_result.tracks if not track.primary)
    assert guest.frames is not None
    assert guest.frames.index == list(range(guest.frames.index[0], FRAMES))
    assert (guest.first_time, guest.last_time) == (guest.frames.time[0], guest.frames.time[-1])
    away = [
        guest.frames.index.index(index) for index in range(GUEST_LEAVES_FRAME, GUEST_RETURNS_FRAME)
    ]
    assert {guest.frames.missing[row] for row in away} == {"face_not_found"}
    assert {guest.frames.face.x[row] for row in away} == {None}
    assert sum(guest.frames.observed) == guest.observed_frames >= FRAMES - GUEST_RETURNS_FRAME
    assert all(value is not None for value in guest.frames.valence)
    assert guest.frames.valence != all_faces_result.valence[guest.frames.index[0] :]


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
    (guest,) = (track for track in all_faces_result.tracks if not track.primary)
    assert guest.frames is not None
    expected = {str(all_faces_result.track): FRAMES, str(guest.id): len(guest.frames)}
    assert Counter(row["track"] for row in rows) == expected
    told = [float(row["valence"]) for row in rows if row["track"] == str(guest.id)]
    assert told == guest.frames.valence
