import os

import pytest

from bench.ceilings import Speed
from bench.report import build_report


def test_report_sets_the_whole_against_its_slowest_part_and_against_all_cores() -> None:
    speeds = {
        "decode": Speed(frames_per_second=400, cpu_seconds_per_frame=0.004),
        "face": Speed(frames_per_second=200, cpu_seconds_per_frame=0.006),
    }
    report = build_report(speeds, 100.0, {"preset": "mini"})
    assert report["preset"] == "mini"
    assert report["ceilings"] == {"decode": 400, "face": 200}
    assert report["end_to_end"] == 100.0
    assert report["ratio"] == 0.5
    assert report["shared_ceiling"] == pytest.approx(100 * len(os.sched_getaffinity(0)))
