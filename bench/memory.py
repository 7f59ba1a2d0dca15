"""Command `make bench-memory`: memory of worker and decode process, by the clip's length."""

from __future__ import annotations

import json
import multiprocessing
import time
import tracemalloc
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final

import psutil
import typer
from circumplex_client import Client
from rich.console import Console
from rich.table import Table

from bench.long_clip import write_long_clip
from bench.processes import sampling
from service.domain.clip import Estimate, FaceBox, Frame, FramesDecoded, TimelinePoint, TrackedFace
from service.embedded.stack import Stack, isolate_settings, run_stack
from service.media.demux import open_container
from service.pipeline.estimators import read_default_manifest
from service.results.builder import ResultBuilder
from service.settings import YARDSTICK, Settings

OUT: Final = Path("out")
LENGTHS_SECONDS: Final = (10, 60, 600, 3600, 36_000)
TARGET_MIB: Final = 512.0
MAX_GROWTH_MIB: Final = 64.0
"""Allowed growth over a clip of a minute, without columns and index."""
_SAMPLING_INTERVAL_SECONDS: Final = 0.1
_MIB_BYTES: Final = 2**20
_ROWS: Final = 10_000
_MINUTE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Peak memory of one clip, in MiB.

    peak_mib: worker and decode processes together, shared pages counted once, sampled.
    worker_mib, decoding_mib: each one's own peak of that.
    high_water_mib: sum of the kernel's peaks of each process, shared pages counted in each.
    columns_mib: the result's columns in the worker.
    index_mib: the container's index in the decode process, which opens the file twice.
    """

    clip_seconds: float
    clip_mib: float
    rows: int
    peak_mib: float
    worker_mib: float
    decoding_mib: float
    high_water_mib: float
    columns_mib: float
    index_mib: float
    wall_seconds: float


def bench_memory(
    length: Annotated[list[int] | None, typer.Option(min=1, help="Seconds; repeatable.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Frames a second.")] = 1.0,
) -> None:
    """Measure memory by clip length; write out/memory.json."""
    console = Console(highlight=False)
    lengths = sorted(length or LENGTHS_SECONDS)
    settings = Settings(
        max_clip_seconds=2.0 * lengths[-1] + 60, worker_concurrency=1, log_level="warning"
    )
    with TemporaryDirectory(prefix="circumplex-memory-") as name:
        folder = Path(name)
        with run_stack(isolate_settings(settings, folder / "stack")) as stack:
            footprints = [
                _measure(stack, folder, seconds, Fraction(rate), console)
                for seconds in (lengths[0], *lengths)  # the first is repeated after a warm-up
            ][1:]
    report = build_report(footprints, rate)
    OUT.mkdir(exist_ok=True)
    (OUT / "memory.json").write_text(json.dumps(report, indent=2) + "\n")
    _show_table(report, footprints, console)


def build_report(footprints: Sequence[Footprint], rate: float) -> dict[str, Any]:
    """Report of the measurements, and whether they are below the target and flat."""
    without_columns = [each.peak_mib - each.columns_mib for each in footprints]
    without_index = [each.peak_mib - each.columns_mib - each.index_mib for each in footprints]
    settled = [
        mib
        for each, mib in zip(footprints, without_index, strict=True)
        if each.clip_seconds >= _MINUTE_SECONDS
    ]
    growth = max(settled) - settled[0] if settled else 0.0
    return {
        "points": [[each.clip_seconds, each.peak_mib] for each in footprints],
        "target_mib": TARGET_MIB,
        "peak_without_columns_mib": round(max(without_columns), 1),
        "growth_after_a_minute_mib": round(growth, 1),
        "holds": max(without_columns) <= TARGET_MIB and growth <= MAX_GROWTH_MIB,
        "frames_per_second": rate,
        "clips": [asdict(each) for each in footprints],
    }


def _measure(
    stack: Stack, folder: Path, seconds: int, rate: Fraction, console: Console
) -> Footprint:
    path = folder / f"{seconds}.mp4"
    write_long_clip(path, seconds, rate)
    console.print(f"A clip of {seconds} s goes through the service ...")
    (worker,) = stack.parts["worker"]
    address = f"http://{stack.settings.host}:{stack.settings.http_port}"
    began = time.monotonic()
    with Client(address) as client, _memory_sampled(worker) as sampler:
        job = client.wait(client.submit(path).id)
    rows = job.progress.frames_done
    footprint = Footprint(
        clip_seconds=float(seconds),
        clip_mib=round(path.stat().st_size / _MIB_BYTES, 1),
        rows=rows,
        peak_mib=round(sampler.peak_mib, 1),
        worker_mib=round(sampler.worker_mib, 1),
        decoding_mib=round(sampler.decoding_mib, 1),
        high_water_mib=round(sampler.high_water_mib(), 1),
        columns_mib=round(rows * measure_column_bytes_per_row() / _MIB_BYTES, 1),
        index_mib=round(measure_index_mib(path), 1),
        wall_seconds=round(time.monotonic() - began, 1),
    )
    path.unlink()
    return footprint


class _MemorySampler:
    """Samples the memory of a worker and its descendants."""

    def __init__(self, worker: psutil.Process) -> None:
        self._worker = worker
        self._high_water: dict[int, int] = {}
        self.peak_mib = self.worker_mib = self.decoding_mib = 0.0

    def sample(self) -> None:
        """Take one sample."""
        worker = self._read_pss_bytes(self._worker)
        decoding = sum(map(self._read_pss_bytes, self._worker.children(recursive=True)))
        self.peak_mib = max(self.peak_mib, (worker + decoding) / _MIB_BYTES)
        self.worker_mib = max(self.worker_mib, worker / _MIB_BYTES)
        self.decoding_mib = max(self.decoding_mib, decoding / _MIB_BYTES)

    def high_water_mib(self) -> float:
        """Sum of the peaks of all processes."""
        return sum(self._high_water.values()) / _MIB_BYTES

    def _read_pss_bytes(self, process: psutil.Process) -> int:
        """Proportional set size, bytes; 0 for a process that has just ended."""
        with suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            proc = Path("/proc", str(process.pid))
            peak = _parse_kibibytes((proc / "status").read_text(), "VmHWM")
            self._high_water[process.pid] = max(self._high_water.get(process.pid, 0), peak * 1024)
            return _parse_kibibytes((proc / "smaps_rollup").read_text(), "Pss") * 1024
        return 0


def _parse_kibibytes(text: str, name: str) -> int:
    """Parse the value of a line `name:  123 kB`; 0 where there is none."""
    found = (line.split()[1] for line in text.splitlines() if line.startswith(f"{name}:"))
    return int(next(found, 0))


@contextmanager
def _memory_sampled(worker: psutil.Process) -> Generator[_MemorySampler]:
    """Sample until the context ends; resets the kernel's peak of the worker."""
    Path("/proc", str(worker.pid), "clear_refs").write_text("5")
    sampler = _MemorySampler(worker)
    with sampling(sampler.sample, _SAMPLING_INTERVAL_SECONDS):
        yield sampler


def measure_index_mib(clip: Path) -> float:
    """Measure the growth of a process that opens a clip twice, for video and audio."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_measure_open_growth_mib, clip).result()


def _measure_open_growth_mib(clip: Path) -> float:
    process = psutil.Process()
    with open_container(clip):
        pass  # the first opening of any file allocates more than the index
    before = process.memory_info().rss
    with open_container(clip), open_container(clip):
        return max(process.memory_info().rss - before, 0) / _MIB_BYTES


def measure_column_bytes_per_row() -> float:
    """Measure the bytes of a result row during an analysis, by filling a builder."""
    box = FaceBox(left=0.0, top=0.0, width=1.0, height=1.0, score=1.0)
    faces = (TrackedFace(track=1, box=box),)
    estimate = Estimate(
        valence=0.0,
        arousal=0.0,
        valence_std=0.0,
        arousal_std=0.0,
        valence_smoothed=0.0,
        arousal_smoothed=0.0,
    )
    tracemalloc.start()
    try:
        builder = ResultBuilder(read_default_manifest(Settings().serving_only(YARDSTICK)), {})
        for index in range(_ROWS):
            frame = Frame(index=index, time_seconds=float(index), faces=faces)
            builder.add(FramesDecoded(times_seconds=(frame.time_seconds,)))
            builder.add(TimelinePoint(track=1, frame=frame, estimate=estimate))
        return tracemalloc.get_traced_memory()[0] / _ROWS
    finally:
        tracemalloc.stop()


def _show_table(report: dict[str, Any], footprints: Sequence[Footprint], console: Console) -> None:
    table = Table("clip", "frames", "MiB together", "worker", "decoding", "columns", "index")
    for each in footprints:
        mebibytes = (each.worker_mib, each.decoding_mib, each.columns_mib, each.index_mib)
        figures = (each.peak_mib, *mebibytes)
        table.add_row(f"{each.clip_seconds:.0f} s", str(each.rows), *(f"{m:.0f}" for m in figures))
    console.print(table)
    verdict = "holds" if report["holds"] else "DOES NOT HOLD"
    console.print(
        f"{report['peak_without_columns_mib']:.0f} MiB at most without columns, "
        f"{report['growth_after_a_minute_mib']:.0f} MiB more than at a minute "
        "without columns and index: "
        f"the target of {TARGET_MIB:.0f} MiB, flat, {verdict}"
    )
    console.print(f"Written: {OUT / 'memory.json'}")


if __name__ == "__main__":
    typer.run(bench_memory)
