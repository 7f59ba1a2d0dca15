"""Memory benchmark: its verdict, its measurements, and the long clips."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from bench.long_clip import write_long_clip
from bench.memory import (
    Footprint,
    build_report,
    measure_column_bytes_per_row,
    measure_index_mib,
)

MINUTE = Footprint(
    clip_seconds=60.0,
    clip_mib=0.3,
    rows=60,
    peak_mib=200.0,
    worker_mib=100.0,
    decoding_mib=100.0,
    high_water_mib=350.0,
    columns_mib=0.0,
    index_mib=0.0,
    wall_seconds=3.0,
)
HOUR = replace(MINUTE, clip_seconds=3600.0, peak_mib=210.0)


def test_flat_curve_below_the_target_holds() -> None:
    report = build_report([MINUTE, HOUR], 1.0)
    assert report["points"] == [[60.0, 200.0], [3600.0, 210.0]]
    assert report["growth_after_a_minute_mib"] == 10.0
    assert report["holds"]


@pytest.mark.parametrize(
    ("peak_mib", "columns_mib", "index_mib", "holds"),
    [
        (300.0, 0.0, 0.0, False),
        (300.0, 90.0, 0.0, True),
        (300.0, 0.0, 90.0, True),
        (600.0, 380.0, 0.0, True),
        (600.0, 0.0, 400.0, False),
    ],
)
def test_growth_is_allowed_for_columns_and_index_only(
    peak_mib: float, columns_mib: float, index_mib: float, holds: bool
) -> None:
    late = replace(HOUR, peak_mib=peak_mib, columns_mib=columns_mib, index_mib=index_mib)
    assert build_report([MINUTE, late], 1.0)["holds"] is holds


def test_flat_curve_above_the_target_does_not_hold() -> None:
    high = [replace(each, peak_mib=513.0) for each in (MINUTE, HOUR)]
    assert not build_report(high, 1.0)["holds"]


def test_container_index_memory_is_measured(tmp_path: Path) -> None:
    clip = tmp_path / "long.mp4"
    write_long_clip(clip, 36_000, Fraction(1))
    assert 10 < measure_index_mib(clip) < 100


def test_a_row_uses_the_bytes_of_its_columns() -> None:
    assert 50 < measure_column_bytes_per_row() < 100


@pytest.mark.parametrize(("seconds", "rate"), [(10, Fraction(2)), (40, Fraction(3, 2))])
def test_long_clip_has_every_frame_once_and_audio_without_gaps(
    tmp_path: Path, seconds: int, rate: Fraction
) -> None:
    path = tmp_path / "long.mp4"
    write_long_clip(path, seconds, rate)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        times = [
            (frame.pts or 0) * (video.time_base or Fraction(0)) for frame in container.decode(video)
        ]
        container.seek(0)
        spans = [(frame.pts or 0, frame.samples) for frame in container.decode(audio)]
    assert times == [index / rate for index in range(round(seconds * rate))]
    assert [start for start, _ in spans[1:]] == [start + length for start, length in spans[:-1]]
    assert abs(sum(spans[-1]) - 8000 * seconds) <= 1024
