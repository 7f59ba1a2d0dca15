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
from circumplex_client import Choices, Client, Result

from training.synthetic.clip import write_clip
from training.synthetic.company import Company, Role

HEIGHT, WIDTH, RATE_HZ, FRAMES = 240, 432, 12, 48
HOST, GUEST = 251, 205
LEAVES, RETURNS = 16, 30
"""The guest's, in frames; the host stays, and is late."""


def host_way(seconds: float) -> tuple[float, float, float] | None:
    return None if seconds * RATE_HZ < 4 else (0.3, 0.5, 0.22)


def guest_way(seconds: float) -> tuple[float, float, float] | None:
    is_away = LEAVES <= round(seconds * RATE_HZ) < RETURNS
    return None if is_away else (0.72 if seconds * RATE_HZ < LEAVES else 0.66, 0.5, 0.26)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "pair.mp4"
    company = Company(
        [Role(seed=HOST, way=host_way), Role(seed=GUEST, way=guest_way)],
        height=HEIGHT,
        width=WIDTH,
    )
    pictures = (company.picture(index / RATE_HZ) for index in range(FRAMES))
    waveform = 0.1 * np.sin(np.arange(4 * 16_000) * 0.2, dtype=np.float32)
    write_clip(path, pictures, rate=Fraction(RATE_HZ), waveform=waveform)
    return path


@pytest.fixture(scope="module")
def every(client: Client, pair: Path) -> Result:
    return client.annotate(pair, Choices(faces="all"))


def test_the_most_present_face_is_primary_and_has_every_frame(every: Result) -> None:
    host, guest = sorted(every.tracks, key=lambda track: -track.observed_frames)
    assert (host.primary, guest.primary, every.track) == (True, False, host.id)
    assert every.index == list(range(FRAMES))
    assert every.observed == [reason is None for reason in every.missing]
    assert sum(every.observed) == host.observed_frames > guest.observed_frames
    assert every.valence[: every.observed.index(True)] == [None] * every.observed.index(True)
    lefts = [left for left in every.face.left if left is not None]
    assert max(lefts) < 0.5 * WIDTH


def test_every_track_has_its_own_timeline(every: Result) -> None:
    (guest,) = (track for track in every.tracks if not track.primary)
    assert guest.frames is not None
    assert guest.frames.index == list(range(guest.frames.index[0], FRAMES))
    assert (guest.first_time, guest.last_time) == (guest.frames.time[0], guest.frames.time[-1])
    away = [guest.frames.index.index(index) for index in range(LEAVES, RETURNS)]
    assert {guest.frames.missing[row] for row in away} == {"face_not_found"}
    assert {guest.frames.face.x[row] for row in away} == {None}
    assert sum(guest.frames.observed) == guest.observed_frames >= FRAMES - RETURNS
    assert all(value is not None for value in guest.frames.valence)
    assert guest.frames.valence != every.valence[guest.frames.index[0] :]


def test_boxes_are_told_in_pixels_and_as_shares(every: Result) -> None:
    assert every.media["width"] == WIDTH
    for row in (row for row, seen in enumerate(every.observed) if seen):
        left, x, w = (column[row] for column in (every.face.left, every.face.x, every.face.w))
        assert left is not None
        assert x == pytest.approx(left / WIDTH, abs=1e-6)
        assert w == pytest.approx((every.face.width[row] or 0) / WIDTH, abs=1e-6)
        height = every.face.height[row]
        assert height is not None
        assert every.face.h[row] == pytest.approx(height / HEIGHT, abs=1e-6)


def test_primary_alone_has_the_same_numbers(
    client: Client, address: str, pair: Path, every: Result
) -> None:
    job = client.wait(client.submit(pair).id)
    alone = client.result(job.id)
    assert (alone.track, alone.valence, alone.face) == (every.track, every.valence, every.face)
    assert [track.id for track in alone.tracks] == [track.id for track in every.tracks]
    assert {track.frames for track in alone.tracks} == {None}
    table = httpx.get(f"{address}/v1/jobs/{job.id}/result", params={"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert Counter(row["track"] for row in rows) == {str(every.track): FRAMES}


def test_csv_of_all_is_long(client: Client, address: str, pair: Path, every: Result) -> None:
    job = client.wait(client.submit(pair, Choices(faces="all")).id)
    table = httpx.get(f"{address}/v1/jobs/{job.id}/result", params={"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(table)))
    (guest,) = (track for track in every.tracks if not track.primary)
    assert guest.frames is not None
    expected = {str(every.track): FRAMES, str(guest.id): len(guest.frames)}
    assert Counter(row["track"] for row in rows) == expected
    told = [float(row["valence"]) for row in rows if row["track"] == str(guest.id)]
    assert told == guest.frames.valence
