"""Report of the peers: figures over rounds, targets, and agreement of estimates."""

import numpy as np
import pytest

from bench.page import fill_blocks
from bench.peers.load import LoadCost
from bench.peers.page import PAGE, build_peer_tables
from bench.peers.report import Load, Turn, build_peer_report, compare_estimates
from bench.peers.systems import PeerEstimates

FOUR = Load(at_once=4, height=720, clip_seconds=20)
MIXED = Load(at_once=4, height=None, clip_seconds=None)


def make_turn(
    system: str, wall_seconds: float, *, load: Load = FOUR, peak_mib: float = 800.0
) -> Turn:
    cost = LoadCost(
        clips=4,
        frames=2000,
        wall_seconds=wall_seconds,
        cpu_seconds=2 * wall_seconds,
        idle_mib=600.0,
        peak_mib=peak_mib,
        latencies_seconds=(wall_seconds / 2, wall_seconds / 2, wall_seconds, wall_seconds),
    )
    return Turn(round=0, system=system, load=load, video_seconds=80.0, cost=cost)


def make_estimates(values: list[list[float]]) -> PeerEstimates:
    return PeerEstimates(times_seconds=np.arange(len(values)) / 25, values=np.array(values))


def test_figures_are_over_all_rounds() -> None:
    turns = [make_turn("fastapi", 10.0), make_turn("fastapi", 30.0, peak_mib=900.0)]
    report = build_peer_report(turns, {}, {}, {})
    figures = report["loads"]["720p 20 s, 4 at once"]["fastapi"]
    assert figures["frames_per_second"] == 100.0
    assert figures["p50_seconds"] == 12.5
    assert figures["p99_seconds"] == 30.0
    assert (figures["peak_mib"], figures["mib_per_clip"]) == (900.0, 225.0)
    assert figures["cpu_seconds_per_video_minute"] == 30.0
    assert figures["cpu_ms_per_frame"] == 20.0


def test_service_is_compared_with_the_fastest_peer() -> None:
    turns = [make_turn("circumplex", 8.0), make_turn("fastapi", 16.0), make_turn("ray", 10.0)]
    (target,) = build_peer_report(turns, {}, {}, {})["targets"].values()
    assert (target["best"], target["speed_ratio"]) == ("ray", 1.25)
    assert not target["holds"]
    assert target["has_lowest_p99"]
    assert not target["has_lowest_memory"]


@pytest.mark.parametrize(("script_seconds", "holds"), [(30.0, True), (29.0, False)])
def test_mixed_load_is_compared_with_the_script_alone(script_seconds: float, holds: bool) -> None:
    turns = [
        make_turn("circumplex", 10.0, load=MIXED),
        make_turn("fastapi", 1.0, load=MIXED),
        make_turn("script", script_seconds, load=MIXED),
    ]
    (target,) = build_peer_report(turns, {}, {}, {})["targets"].values()
    assert (target["best"], target["holds"]) == ("script", holds)


def test_estimates_are_compared_where_both_are_known() -> None:
    service = make_estimates([[0.0, 0.5], [0.1, 0.4], [0.2, 0.3], [np.nan, np.nan]])
    peer = make_estimates([[0.1, 0.5], [0.2, 0.4], [0.3, 0.3], [0.9, 0.9]])
    compared = compare_estimates({"circumplex": service, "fastapi": peer})["fastapi"]
    assert compared["frames"] == 3
    assert compared["correlation"] == pytest.approx(1.0)
    assert compared["mean_difference"] == pytest.approx(0.1)


def test_page_has_a_place_for_each_table() -> None:
    turns = [make_turn("circumplex", 8.0), make_turn("fastapi", 16.0)]
    estimates = make_estimates([[0.0, 0.5], [0.1, 0.4]])
    report = build_peer_report(turns, {}, {"circumplex": estimates, "fastapi": estimates}, {})
    tables = {name: table.to_markdown() for name, table in build_peer_tables(report).items()}
    assert "| 720p 20 s, 4 at once | fastapi | 2.00 | yes | yes | no |" in tables["peer_targets"]
    filled = fill_blocks(PAGE.read_text(), tables)
    assert all(table in filled for table in tables.values())
