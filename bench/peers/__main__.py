"""Command `make bench-peers`: the service beside what people would use instead."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from bench.peers.clips import HEIGHTS, ClipKind
from bench.peers.environments import (
    PeerEnvironment,
    collect_model_files,
    create_environment,
    make_peer_environment,
)
from bench.peers.load import run_load, warm_up
from bench.peers.page import build_peer_tables
from bench.peers.report import Load, Turn, build_peer_report
from bench.peers.systems import SCRIPT, SERVICE, SYSTEMS, PeerEstimates, run_system
from service.pipeline.estimators import read_default_manifest
from service.settings import YARDSTICK, Settings

OUT: Final = Path("out")
CLIPS: Final = OUT / "peers-clips"
WARM_UP_SECONDS: Final = 8
MIXED_SECONDS: Final = (4, 10, 20, 40)
MIXED_AT_ONCE: Final = 4
MIXED_SEED: Final = 14
CLIPS_A_CLIENT: Final = {1: 3, 4: 2}
"""Clips that each of so many clients sends in a turn; else one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Rounds, systems and loads of a run; mixed_clips: of the mixed load, 0: none."""

    rounds: int
    systems: Sequence[str]
    heights: Sequence[int]
    clip_seconds: Sequence[int]
    at_once: Sequence[int]
    mixed_clips: int
    has_grain: bool

    def list_loads(self, system: str) -> list[tuple[Load, list[ClipKind]]]:
        """List the loads of a system with their clips."""
        loads = [
            (
                Load(at_once=clients, height=height, clip_seconds=seconds),
                [self._make_kind(height, seconds)] * clients * CLIPS_A_CLIENT.get(clients, 1),
            )
            for height in self.heights
            for seconds in self.clip_seconds
            for clients in self.at_once
        ]
        if self.mixed_clips and system in (SERVICE, SCRIPT):
            load = Load(at_once=MIXED_AT_ONCE, height=None, clip_seconds=None)
            loads.append((load, self._shuffle_clips()))
        return loads

    def make_warm_up_clip(self) -> ClipKind:
        """Return the kind of the first clip that a started system is sent."""
        return self._make_kind(self.heights[0], WARM_UP_SECONDS)

    def _make_kind(self, height: int, seconds: int) -> ClipKind:
        return ClipKind(height=height, seconds=seconds, has_grain=self.has_grain)

    def _shuffle_clips(self) -> list[ClipKind]:
        """List clips of all lengths and heights, in an order that is the same every time."""
        kinds = [self._make_kind(height, each) for height in HEIGHTS for each in MIXED_SECONDS]
        repeated = kinds * -(-self.mixed_clips // len(kinds))
        random.Random(MIXED_SEED).shuffle(repeated)
        return repeated[: self.mixed_clips]


@dataclass(slots=True)
class _Measurements:
    turns: list[Turn] = field(default_factory=list[Turn])
    start_seconds: dict[str, float] = field(default_factory=dict[str, float])
    estimates: dict[str, PeerEstimates] = field(default_factory=dict[str, PeerEstimates])


def bench_peers(
    quick: Annotated[
        bool, typer.Option(help="720p, 20 s, one round; a short mixed load: some 5 minutes.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each system.")] = 2,
    system: Annotated[list[str] | None, typer.Option(help="Repeatable; default: all.")] = None,
    height: Annotated[list[int] | None, typer.Option(help="360, 720, 1080; repeatable.")] = None,
    seconds: Annotated[list[int] | None, typer.Option(min=1, help="Clips; repeatable.")] = None,
    at_once: Annotated[list[int] | None, typer.Option(min=1, help="Clients; repeatable.")] = None,
    mixed: Annotated[int, typer.Option(min=0, help="Clips of the mixed load.")] = 24,
    grain: Annotated[bool, typer.Option(help="Sensor grain, at a camera's bit rate.")] = True,
    environments: Annotated[Path, typer.Option(help="Folder.")] = Path(".runtime/peers"),
) -> None:
    """Measure all systems in turns, print a table and write out/peers.json."""
    plan = Plan(
        rounds=1 if quick else rounds,
        systems=system or SYSTEMS,
        heights=height or ([720] if quick else HEIGHTS),
        clip_seconds=seconds or ([20] if quick else [10, 60]),
        at_once=at_once or [1, 4, 16],
        mixed_clips=min(mixed, 12) if quick else mixed,
        has_grain=grain,
    )
    if unknown := set(plan.systems) - set(SYSTEMS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose of {', '.join(SYSTEMS)}")
    signal.signal(signal.SIGTERM, _exit_with_cleanup)
    console, settings = Console(highlight=False), Settings().serving_only(YARDSTICK)
    measured = _Measurements()
    peers = _prepare_environments(plan, environments, settings, console)
    for number in range(plan.rounds):
        for name in plan.systems:
            _measure_system(name, number, plan, peers.get(name), settings, measured, console)
    metadata = {
        "model": str(read_default_manifest(settings).id),
        "cores": len(os.sched_getaffinity(0)),
        "rounds": plan.rounds,
        "has_grain": plan.has_grain,
    }
    report = build_peer_report(measured.turns, measured.start_seconds, measured.estimates, metadata)
    (OUT / "peers.json").write_text(json.dumps(report, indent=2) + "\n")
    for table in build_peer_tables(report).values():
        table.print_to(console)
    console.print(f"Written: {OUT / 'peers.json'}")


def _prepare_environments(
    plan: Plan, folder: Path, settings: Settings, console: Console
) -> Mapping[str, PeerEnvironment]:
    """Create what is missing: environments, the models' files and clips."""
    files = folder / "files"
    collect_model_files(files, settings)
    peers: dict[str, PeerEnvironment] = {}
    for name in plan.systems:
        if name != SERVICE:
            console.print(f"Preparing the environment of {name} ...")
            python = create_environment(name, folder)
            peers[name] = make_peer_environment(name, python, files, folder / "logs")
    console.print("Drawing the clips ...")
    for _, clips in plan.list_loads(SERVICE):
        for clip in clips:
            clip.draw(CLIPS)
    return peers


def _measure_system(
    name: str,
    number: int,
    plan: Plan,
    environment: PeerEnvironment | None,
    settings: Settings,
    measured: _Measurements,
    console: Console,
) -> None:
    with run_system(name, environment, settings) as system:
        measured.start_seconds.setdefault(name, system.start_seconds)
        warm_up_clip = plan.make_warm_up_clip().draw(CLIPS)
        measured.estimates.setdefault(name, warm_up(system, warm_up_clip))
        for load, clips in plan.list_loads(name):
            cost = run_load(system, [clip.draw(CLIPS) for clip in clips], load.at_once)
            turn = Turn(
                round=number,
                system=name,
                load=load,
                video_seconds=sum(clip.seconds for clip in clips),
                cost=cost,
            )
            measured.turns.append(turn)
            rate = cost.frames / cost.wall_seconds
            console.print(f"Round {number + 1}, {name}, {load.name}: {rate:.0f} frames/s")


def _exit_with_cleanup(number: int, _: object) -> None:
    """End as by an error, so that the processes of the system that runs are stopped."""
    sys.exit(128 + number)


if __name__ == "__main__":
    typer.run(bench_peers)
