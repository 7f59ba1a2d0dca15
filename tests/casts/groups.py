"""Casts of drawn people in one room: they meet, leave, return and change seats."""

from __future__ import annotations

from collections.abc import Mapping

from tests.casts.catalogue import MakeCast
from tests.casts.edits import scale_light
from tests.casts.shot import render_group
from training.synthetic.group_scene import MotionPath


def group_casts(one: int, other: int, third: int, *, rate_hz: float) -> Mapping[str, MakeCast]:
    """Name the casts of three people in one room."""
    warm = (1.15, 0.85, 0.6)

    def play(roles: dict[int, MotionPath], seconds: float) -> MakeCast:
        return lambda: render_group(roles, seconds=seconds, rate_hz=rate_hz)

    crossing = {one: walk_between(0.2, 0.8, 3.0), other: walk_between(0.8, 0.2, 3.0)}
    away = absent_between(stand_at(0.3), 1.0, 3.0)
    return {
        "crossing": play(crossing, 4.0),
        "crossing, light changes after": lambda: scale_light(
            play(crossing, 4.0)(), lambda at: warm if at > 0.7 else (1.0, 1.0, 1.0)
        ),
        "passing in front": play({one: stand_at(0.5), other: walk_between(0.1, 0.9, 3.0)}, 4.0),
        "leaves and returns": play({one: away, other: stand_at(0.7)}, 4.5),
        "leaves and returns in other light": lambda: scale_light(
            play({one: away, other: stand_at(0.7)}, 4.5)(),
            lambda at: warm if at > 0.45 else (1.0, 1.0, 1.0),
        ),
        "another takes the seat": play(
            {
                one: absent_between(stand_at(0.5), 1.5, 9.0),
                other: absent_between(stand_at(0.51), 0.0, 2.0),
            },
            4.0,
        ),
        "another takes the seat over a cut": play(
            {
                one: absent_between(stand_at(0.5), 2.0, 9.0),
                other: absent_between(stand_at(0.5), 0.0, 2.0),
            },
            4.0,
        ),
        "seats swapped while away": play(
            {
                one: absent_between(lambda time: (0.3 if time < 2 else 0.7, 0.5, 0.22), 1.0, 2.5),
                other: absent_between(lambda time: (0.7 if time < 2 else 0.3, 0.5, 0.22), 1.0, 2.5),
            },
            4.0,
        ),
        "three, one passes, one comes late": play(
            {
                one: stand_at(0.3),
                other: absent_between(stand_at(0.75), 0.0, 1.5),
                third: walk_between(-0.1, 1.1, 4.0),
            },
            4.5,
        ),
    }


def stand_at(x: float, size: float = 0.22) -> MotionPath:
    """Stay at a place."""
    return lambda _: (x, 0.5, size)


def walk_between(start: float, end: float, seconds: float, size: float = 0.22) -> MotionPath:
    """Walk from one place to another, and stay there."""
    return lambda time: (start + (end - start) * min(time / seconds, 1.0), 0.5, size)


def absent_between(path: MotionPath, start_seconds: float, end_seconds: float) -> MotionPath:
    """Be out of the scene for a while."""
    return lambda time: None if start_seconds <= time < end_seconds else path(time)
