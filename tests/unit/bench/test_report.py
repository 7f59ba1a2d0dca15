"""Costs, ceilings and targets of a benchmark report."""

from typing import Any

import pytest

from bench.bytes_moved import count_bytes
from bench.clips import HEIGHT, WIDTH
from bench.cost import FrameCost, median_costs
from bench.service_load import fit_queue_costs
from bench.stack_load import LoadRun
from bench.summary import check_targets, summarize
from bench.tables import build_tables


def cost(cpu_ms: float, rate: float) -> dict[str, float]:
    return {"cpu_ms_per_frame": cpu_ms, "frames_per_second": rate}


def load_run(clips: int, frames: int, wall_seconds: float, **cpu_seconds: float) -> LoadRun:
    groups = ("client", "gateway", "Redis", "worker", "decode", "Triton", "models")
    cpu = {group: cpu_seconds.get(group, 0.0) for group in groups}
    return LoadRun(clips=clips, frames=frames, wall_seconds=wall_seconds, cpu_seconds=cpu)


@pytest.fixture
def report() -> dict[str, Any]:
    extraction = {
        "bare_decoding": cost(0.9, 1000),
        "bare_mesh": cost(0.5, 2000),
        "decoding": cost(1.0, 1000),
        "decoding_threaded": cost(1.2, 1500),
        "face": cost(2.0, 500),
        "audio": cost(0.1, 10_000),
        "extraction": cost(3.2, 450),
    }
    networks = {"visual_backbone": cost(0.8, 1250), "fusion": cost(0.1, 10_000)}
    rates = {"fp32": 100.0, "bf16": 400.0, "int8": 900.0, "copy": 10.0}
    run = load_run(4, 2000, 4.0, decode=6.4, models=1.6).to_json(2)
    return {
        "cores": 2,
        "stages": {
            "extraction": extraction,
            "extraction_grain": extraction,
            "networks": networks,
            "batches": {"visual_backbone": {"32": cost(0.8, 1250)}},
        },
        "processor": {
            "one_thread": rates,
            "all_cores": rates,
            "mflop_per_frame": {"visual_backbone": 40.0, "fusion": 6.0},
        },
        "paper": {
            "eager": {"fusion": cost(4.0, 250)},
            "exported": {"float32": {"fusion": cost(2.0, 500)}},
            "gains": {"float32": 2.0},
            "gain": 2.0,
        },
        "service": {
            "start_seconds": 11.0,
            "alone": load_run(1, 500, 1.5, decode=1.6).to_json(2),
            "at_once": {"4": run, "16": run},
            "short": {"p50_seconds": 0.5, "max_seconds": 1.2},
            "queue": {"cpu_ms_per_clip": 9.0, "cpu_ms_per_frame": 0.05, "idle_cores": 0.01},
            "memory_mib": {"ready": {"models": 900.0}, "peak_of_4_clips": {"models": 1000.0}},
        },
    }


def test_ceilings_are_of_each_stage_and_of_all_sharing_the_cores(report: dict[str, Any]) -> None:
    summary = summarize(report)
    assert summary["cpu_ms_per_frame_total"] == pytest.approx(4.0)
    ceilings = summary["ceilings"]
    assert ceilings["decoding"] == 1500  # with the threads that it has in the service
    assert ceilings["shared"] == pytest.approx(2 / 0.004)
    assert ceilings["arithmetic"] == pytest.approx(900e9 / 46e6, rel=1e-3)
    copied = sum(count_bytes(HEIGHT, WIDTH).values())
    assert ceilings["memory_copies"] == pytest.approx(10e9 / copied, rel=1e-3)
    assert summary["lowest_ceiling"] == 500


def test_service_is_compared_with_its_ceilings(report: dict[str, Any]) -> None:
    summary = summarize(report)
    assert summary["of_shared"]["4"] == pytest.approx(1.0)
    assert summary["of_lowest"]["16"] == pytest.approx(1.0)
    assert summary["alone_to_lowest"] == pytest.approx(1.5)
    assert summary["roofline"]["visual_backbone"]["gflops"] == pytest.approx(50)


def test_targets_are_judged_in_their_direction(report: dict[str, Any]) -> None:
    report["summary"] = summarize(report)
    met = {target.path[-1]: target.is_met(value) for target, value in check_targets(report)}
    assert met["start_seconds"]
    assert not met["max_seconds"]
    assert not met["gain"]
    labels = [target.label for target, _ in check_targets(report)]
    assert not any("second worker" in label for label in labels)  # the part was not measured
    assert not met["alone_to_lowest"]


def test_every_table_of_the_measured_parts_is_built(report: dict[str, Any]) -> None:
    report["summary"] = summarize(report)
    tables = build_tables(report)
    assert set(tables) == {
        *("stages", "decoding", "roofline", "batches"),
        *("processes", "memory", "paper", "targets"),
    }
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.headings)}
    assert "| decode | 3.2 |" in tables["processes"].to_markdown()


def test_queue_costs_are_fitted_over_clips_of_two_lengths() -> None:
    idle = {"gateway": 0.01, "Redis": 0.0}
    short = load_run(10, 500, 5.0, gateway=0.05 + 10 * 0.008, Redis=500 * 0.00005)
    long = load_run(16, 8000, 20.0, gateway=0.2 + 16 * 0.008, Redis=8000 * 0.00005)
    assert fit_queue_costs(short, long, idle) == {
        "cpu_ms_per_clip": pytest.approx(8.0),
        "cpu_ms_per_frame": pytest.approx(0.05),
        "idle_cores": pytest.approx(0.01),
    }


def test_median_costs_ignore_one_slow_round() -> None:
    rounds = [
        {"decode": FrameCost(cpu_seconds=seconds, wall_seconds=2 * seconds)}
        for seconds in (0.004, 0.04, 0.003)
    ]
    assert median_costs(rounds)["decode"].cpu_seconds == 0.004
