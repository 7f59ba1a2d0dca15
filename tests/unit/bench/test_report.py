import os

import pytest

from bench.ceilings import Speed
from bench.front import Cost, sum_up
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


def test_front_is_told_as_ratios_of_one_round_each() -> None:
    quiet = {
        "decode": Cost(cpu=0.004, wall=0.004),
        "face": Cost(cpu=0.005, wall=0.005),
        "one_thread": Cost(cpu=0.009, wall=0.009),
        "two_stages": Cost(cpu=0.0099, wall=0.006),
    }
    busy = {name: Cost(cpu=3 * cost.cpu, wall=5 * cost.wall) for name, cost in quiet.items()}
    front = sum_up([quiet, busy, quiet])
    assert front["face_to_decode"] == pytest.approx(1.25)
    assert front["two_stages_speedup"] == pytest.approx(1.5)
    assert front["two_stages_overhead"] == pytest.approx(0.1)
    assert front["frames_per_core_second"]["decode"] == pytest.approx(250)
