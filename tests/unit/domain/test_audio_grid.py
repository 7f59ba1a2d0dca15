"""Patch starts: the hop of each frame's time, as the public pipelines round it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from service.domain.audio_grid import patch_start_hop

FRAMES = 20_000
NTSC = Fraction(1_000, 1_001)


def list_starts(rate: Fraction, ticks_per_second: int | None = None) -> list[int]:
    """List the starts at a constant rate, with times rounded to a container's ticks."""
    times = (frame / rate for frame in range(FRAMES))
    if ticks_per_second is not None:
        times = (Fraction(round(time * ticks_per_second), ticks_per_second) for time in times)
    return [patch_start_hop(float(time)) for time in times]


def list_public_starts(rate: Fraction) -> list[int]:
    """List the starts of the public pipelines: multiples of a hop in hundredths of a second."""
    hop = 1 / float(rate) * (1.0 / 0.010)
    return [round(hop * frame) for frame in range(FRAMES)]


@pytest.mark.parametrize("rate", [12, 15, 20, 24, 25, 30, 48, 50, 60])
def test_starts_are_those_of_the_public_pipelines(rate: int) -> None:
    assert list_starts(Fraction(rate)) == list_public_starts(Fraction(rate))


def test_halves_round_down_at_24_frames_a_second() -> None:
    # 100 t is 12.5, 37.5, 62.5 and 87.5
    assert [patch_start_hop(frame / 24) for frame in (3, 9, 15, 21)] == [12, 37, 62, 87]


@pytest.mark.parametrize("ticks_per_second", [12_288, 90_000, 24_000])
def test_a_tick_of_the_container_makes_no_difference_at_24(ticks_per_second: int) -> None:
    assert list_starts(Fraction(24), ticks_per_second) == list_public_starts(Fraction(24))


@pytest.mark.parametrize("rate", [24 * NTSC, 30 * NTSC, 60 * NTSC])
def test_ntsc_starts_differ_only_at_halves_where_a_float_decides(rate: Fraction) -> None:
    halves = {frame for frame in range(FRAMES) if (200 * frame / rate) % 2 == 1}
    pairs = enumerate(zip(list_starts(rate), list_public_starts(rate), strict=True))
    differing = {frame for frame, (own, public) in pairs if own != public}
    assert differing <= halves
    assert len(halves) <= FRAMES // 230


def test_variable_times_start_at_the_nearest_hop() -> None:
    times = np.random.default_rng(0).uniform(-1, 4_000, FRAMES)
    starts = np.array([patch_start_hop(time) for time in times.tolist()])
    assert np.abs(100 * times - starts).max() <= 0.5 + 1e-6
    # the same half, however its float was computed
    assert {patch_start_hop(5.005), patch_start_hop(5005 / 1000), patch_start_hop(0.005 + 5)} == {
        500
    }
