"""Schedule of the search: by seconds of the media, bounded in each picture."""

from __future__ import annotations

from collections import Counter

import pytest

from service.faces.detections import SearchScheduleSnapshot
from service.faces.search_schedule import (
    CUT_SWEEP_SECONDS,
    MAX_DETECTION_SECONDS,
    MAX_FACELESS_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    SWEEP_SECONDS,
    SearchSchedule,
)
from service.serialization import decode, encode

TILES = 53


def run(
    schedule: SearchSchedule, times: list[float], *, has_faces: bool, count: int = TILES
) -> list[tuple[bool, list[int]]]:
    """Return of each picture whether all of it was searched, and its tiles."""
    plan: list[tuple[bool, list[int]]] = []
    for each in times:
        schedule.advance(each)
        tiles = schedule.take_tiles(count, has_faces=has_faces)
        plan.append((schedule.take_detection(has_faces=has_faces), tiles))
    return plan


def times_at(rate_hz: float, seconds: float, start: float = 0.0) -> list[float]:
    return [start + step / rate_hz for step in range(round(seconds * rate_hz))]


def test_first_picture_is_searched_thoroughly() -> None:
    ((detects, tiles),) = run(SearchSchedule(), [17.5], has_faces=False)
    assert detects
    assert tiles == [*range(TILES)]


@pytest.mark.parametrize("has_faces", [True, False])
def test_every_picture_of_a_six_frame_clip_is_searched_or_every_second_with_a_face(
    has_faces: bool,
) -> None:
    plan = run(SearchSchedule(), times_at(25, 0.24), has_faces=has_faces)
    assert [detects for detects, _ in plan] == [True, not has_faces] * 3


def test_the_picture_of_an_event_is_searched_while_faces_are_followed() -> None:
    schedule = SearchSchedule()
    for seconds in times_at(25, 0.12):
        schedule.advance(seconds)
        schedule.restart()
        assert schedule.take_detection(has_faces=True)


@pytest.mark.parametrize("rate_hz", [0.2, 1, 2])
def test_every_picture_at_a_low_rate_is_searched_thoroughly(rate_hz: float) -> None:
    for detects, tiles in run(SearchSchedule(), times_at(rate_hz, 30 / rate_hz), has_faces=True):
        assert detects
        assert sorted(tiles) == [*range(TILES)]


@pytest.mark.parametrize("rate_hz", [5, 25, 60, 240])
@pytest.mark.parametrize("has_faces", [True, False])
def test_search_interval_is_in_seconds_whatever_the_rate(rate_hz: float, has_faces: bool) -> None:
    times = times_at(rate_hz, 30)
    plan = run(SearchSchedule(), times, has_faces=has_faces)
    detected = [time for time, (detects, _) in zip(times, plan, strict=True) if detects]
    late = [time for time in detected if time > 10]
    assert len(late) == pytest.approx(20 / MAX_DETECTION_SECONDS, rel=0.25)
    visits = Counter(tile for _, tiles in plan for tile in tiles)
    pause = MAX_PAUSE_SECONDS if has_faces else MAX_FACELESS_PAUSE_SECONDS
    assert min(visits.values()) >= 30 / (pause + SWEEP_SECONDS + 1 / rate_hz) - 1
    assert max(visits.values()) <= 30 / pause + 3


def test_no_picture_but_the_first_has_many_tiles() -> None:
    schedule = SearchSchedule()
    plan = run(schedule, times_at(25, 10), has_faces=False)
    schedule.restart(is_cut=True)
    plan += run(schedule, times_at(25, 2, start=10), has_faces=False)
    assert max(len(tiles) for _, tiles in plan[1:]) <= TILES / (25 * CUT_SWEEP_SECONDS) + 1


def test_cut_is_searched_at_once_and_thoroughly_soon_after() -> None:
    schedule = SearchSchedule()
    run(schedule, times_at(25, 20), has_faces=False)
    schedule.restart(is_cut=True)
    plan = run(schedule, times_at(25, CUT_SWEEP_SECONDS + 0.04, start=20), has_faces=False)
    assert plan[0][0]
    assert {tile for _, tiles in plan for tile in tiles} == {*range(TILES)}


def test_cut_in_every_picture_leaves_no_tile_out() -> None:
    schedule = SearchSchedule()
    run(schedule, [0.0], has_faces=False)
    seen: set[int] = set()
    for time in times_at(25, 1, start=0.04):
        schedule.advance(time)
        schedule.restart(is_cut=True)
        seen |= {*schedule.take_tiles(TILES, has_faces=False)}
    assert seen == {*range(TILES)}


def test_times_that_go_back_or_stand_still_do_not_stop_the_search() -> None:
    schedule = SearchSchedule()
    run(schedule, times_at(25, 20, start=100), has_faces=True)
    assert run(schedule, [3.0], has_faces=True) == [(True, [*schedule_order(schedule)])]
    still = run(schedule, [3.0] * 200, has_faces=True)
    assert all(detects for detects, _ in still)


def schedule_order(schedule: SearchSchedule) -> list[int]:
    first = schedule.snapshot().next_tile
    return [(first + each) % TILES for each in range(TILES)]


@pytest.mark.parametrize("origin", [0.0, 0.1, 3600.7, 43199.9 + 1e-9])
def test_schedule_does_not_depend_on_the_origin_of_time(origin: float) -> None:
    times = times_at(25, 12)
    expected = run(SearchSchedule(), times, has_faces=False)
    assert run(SearchSchedule(), [origin + time for time in times], has_faces=False) == expected


def test_picture_too_small_for_tiles_has_none() -> None:
    for _, tiles in run(SearchSchedule(), times_at(25, 5), has_faces=False, count=0):
        assert tiles == []


def test_unknown_times_are_those_of_a_camera() -> None:
    schedule = SearchSchedule()
    assert [schedule.advance(None) for _ in range(3)] == [0.0, 0.04, 0.08]


def test_schedule_resumes_from_saved_state_at_any_picture() -> None:
    times = times_at(25, 4)
    whole = run(SearchSchedule(), times, has_faces=True)
    for split in range(1, len(times), 9):
        first, second = SearchSchedule(), SearchSchedule()
        before = run(first, times[:split], has_faces=True)
        second.restore(decode(encode(first.snapshot()), SearchScheduleSnapshot))
        assert before + run(second, times[split:], has_faces=True) == whole
