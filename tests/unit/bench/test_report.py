"""Benchmark reports."""

import os

import pytest

from bench.front_end import FrameCost, summarize_rounds
from bench.report import build_report
from bench.stage_speeds import StageSpeed


def test_report_compares_end_to_end_with_slowest_stage_and_shared_ceiling() -> None:
    speeds = {
        "decode": StageSpeed(frames_per_second=400, cpu_seconds_per_frame=0.004),
        "face": StageSpeed(frames_per_second=200, cpu_seconds_per_frame=0.006),
    }
    report = build_report(speeds, 100.0, {"preset": "mini"})
    assert report["preset"] == "mini"
    assert report["ceilings"] == {"decode": 400, "face": 200}
    assert report["end_to_end"] == 100.0
    assert report["ratio"] == 0.5
    assert report["shared_ceiling"] == pytest.approx(100 * len(os.sched_getaffinity(0)))


def test_front_end_report_uses_per_round_ratios() -> None:
    quiet = {
        "decode": FrameCost(cpu_seconds=0.004, wall_seconds=0.004),
        "face": FrameCost(cpu_seconds=0.005, wall_seconds=0.005),
        "one_thread": FrameCost(cpu_seconds=0.009, wall_seconds=0.009),
        "two_stages": FrameCost(cpu_seconds=0.0099, wall_seconds=0.006),
    }
    busy = {
        name: FrameCost(cpu_seconds=3 * cost.cpu_seconds, wall_seconds=5 * cost.wall_seconds)
        for name, cost in quiet.items()
    }
    front = summarize_rounds([quiet, busy, quiet])
    assert front["face_to_decode"] == pytest.approx(1.25)
    assert front["two_stages_speedup"] == pytest.approx(1.5)
    assert front["two_stages_overhead"] == pytest.approx(0.1)
    assert front["frames_per_core_second"]["decode"] == pytest.approx(250)
