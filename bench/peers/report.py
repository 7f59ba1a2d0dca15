"""Report on the compared systems: figures over all rounds, and ratios to the service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from bench.peers.load import LoadCost
from bench.peers.systems import SCRIPT, SERVICE, PeerEstimates

MIN_SPEED_TO_PEER: Final = 1.5
"""Target: speed relative to the best peer, at these many clips at once."""
JUDGED_AT_ONCE: Final = (4, 16)
MIN_SPEED_TO_SCRIPT: Final = 3.0
"""Target: speed on the mixed load relative to the plain script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A kind of load. height, clip_seconds: of its clips; None: a mixture."""

    at_once: int
    height: int | None
    clip_seconds: float | None

    @property
    def name(self) -> str:
        """Its name in reports."""
        clips = "mixed" if self.height is None else f"{self.height}p {self.clip_seconds:.0f} s"
        return f"{clips}, {self.at_once} at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Cost of one load on one system in one round. video_seconds: of all clips."""

    round: int
    system: str
    load: Load
    video_seconds: float
    cost: LoadCost


def summarize_turns(turns: Sequence[Turn]) -> dict[str, float]:
    """Compute the figures of the same load and system over all rounds."""
    costs = [turn.cost for turn in turns]
    latencies = np.concatenate([cost.latencies_seconds for cost in costs])
    frames = sum(cost.frames for cost in costs)
    cpu_seconds = sum(cost.cpu_seconds for cost in costs)
    peak = max(cost.peak_mib for cost in costs)
    return {
        "frames_per_second": frames / sum(cost.wall_seconds for cost in costs),
        "p50_seconds": float(np.quantile(latencies, 0.5)),
        "p99_seconds": float(np.quantile(latencies, 0.99)),
        "peak_mib": peak,
        "mib_per_clip": peak / turns[0].load.at_once,
        "cpu_seconds_per_video_minute": 60 * cpu_seconds / sum(t.video_seconds for t in turns),
        "cpu_ms_per_frame": 1000 * cpu_seconds / frames,
    }


def build_peer_report(
    turns: Sequence[Turn],
    start_seconds: Mapping[str, float],
    estimates: Mapping[str, PeerEstimates],
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    """Report of all turns: figures by load and system, targets, agreement, and the raw figures."""
    loads: dict[str, dict[str, dict[str, float]]] = {}
    for load in dict.fromkeys(turn.load for turn in turns):
        of_load = [turn for turn in turns if turn.load == load]
        systems = dict.fromkeys(turn.system for turn in of_load)
        loads[load.name] = {
            system: summarize_turns([turn for turn in of_load if turn.system == system])
            for system in systems
        }
    return {
        **metadata,
        "start_seconds": dict(start_seconds),
        "loads": loads,
        "targets": _check_targets(turns, loads),
        "agreement": compare_estimates(estimates),
        "turns": [asdict(turn) for turn in turns],
    }


def compare_estimates(estimates: Mapping[str, PeerEstimates]) -> dict[str, dict[str, float]]:
    """Compare each peer's estimates of one clip with the service's: the lesser of both targets."""
    if SERVICE not in estimates:
        return {}
    reference = estimates[SERVICE].values
    compared: dict[str, dict[str, float]] = {}
    for name, answer in estimates.items():
        is_known = ~np.isnan(reference).any(axis=1) & ~np.isnan(answer.values).any(axis=1)
        first, second = reference[is_known].T, answer.values[is_known].T
        correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
        compared[name] = {
            "correlation": float(min(correlations)),
            "mean_difference": float(np.abs(first - second).mean(axis=1).max()),
            "frames": int(is_known.sum()),
        }
    return compared


def _check_targets(
    turns: Sequence[Turn], loads: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, dict[str, float | str | bool]]:
    targets: dict[str, dict[str, float | str | bool]] = {}
    for load in dict.fromkeys(turn.load for turn in turns):
        figures = loads[load.name]
        if SERVICE not in figures:
            continue
        own, is_mixed = figures[SERVICE], load.height is None
        rivals = {name: each for name, each in figures.items() if name != SERVICE}
        if is_mixed:
            rivals = {name: each for name, each in rivals.items() if name == SCRIPT}
        if not rivals or (not is_mixed and load.at_once not in JUDGED_AT_ONCE):
            continue
        best = max(rivals, key=lambda name: rivals[name]["frames_per_second"])
        speed = own["frames_per_second"] / rivals[best]["frames_per_second"]
        p99 = min(each["p99_seconds"] for each in rivals.values())
        memory = min(each["mib_per_clip"] for each in rivals.values())
        targets[load.name] = {
            "best": best,
            "speed_ratio": speed,
            "holds": speed >= (MIN_SPEED_TO_SCRIPT if is_mixed else MIN_SPEED_TO_PEER),
            "has_lowest_p99": own["p99_seconds"] < p99,
            "has_lowest_memory": own["mib_per_clip"] < memory,
        }
    return targets
