"""Fuzz run: concurrent inputs through the in-process pipeline, some through the service too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from redis import Redis

from service.decoding.extractor import open_clip_extractor
from service.domain.options import AnalysisOptions
from service.embedded.stack import Stack
from service.settings import Settings
from tests.fuzz.in_process_pipeline import InProcessPipeline, Outcome
from tests.fuzz.inputs import FuzzInput, make_input
from tests.fuzz.leaks import (
    ResourceSnapshot,
    find_stray_files,
    find_stray_keys,
    snapshot_resources,
    wait_until_settled,
)
from tests.fuzz.report import FuzzFindings
from tests.fuzz.seeds import Seed
from tests.fuzz.service_client import CheckedServiceClient

WARM_UP_INPUTS: Final = 40
"""Inputs before the first snapshot, which fill every connection pool."""
HANG_TIMEOUT_SECONDS: Final = 120.0
"""Time after which an input counts as hung; the decode process's limits are far below it."""
_PROGRESS_SECONDS: Final = 15.0

FUZZ_SETTINGS: Final[dict[str, Any]] = {
    "max_clip_seconds": 60.0,
    "max_clip_frames": 250,
    "max_frame_pixels": 512 * 512,
    "decode_threads": 1,
    "decode_memory_bytes": 2**29,
    "decode_stall_seconds": 40.0,
    "decode_cpu_seconds": 8,
    "log_level": "error",
}
"""Tight limits on what an input may use; exceeding them is a typed error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FuzzPlan:
    """Inputs of a run. service_every: every n-th input goes through the service too; 0: none."""

    seeds: tuple[Seed, ...]
    run_seed: int
    inputs: int
    first_number: int = 0
    service_every: int = 50
    at_once: int = 4


class FuzzRun:
    """Feeds a plan's inputs, and records outcomes, leaks and lost parts of the service."""

    def __init__(
        self,
        plan: FuzzPlan,
        settings: Settings,
        findings: FuzzFindings,
        *,
        scratch: Path,
        stack: Stack | None = None,
        service: CheckedServiceClient | None = None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """scratch: empty folder for the inputs in flight; stack, service: both or neither."""
        self._plan, self._settings, self._findings = plan, settings, findings
        self._scratch, self._stack, self._service = scratch, stack, service
        self._log = log
        self._began = time.monotonic()

    async def run(self) -> dict[str, Any]:
        """Feed every input; returns the report."""
        plan = self._plan
        numbers = iter(range(plan.first_number, plan.first_number + plan.inputs))
        async with AsyncExitStack() as resources:
            extractor = await resources.enter_async_context(open_clip_extractor(self._settings))
            pipeline = InProcessPipeline(extractor, hang_seconds=HANG_TIMEOUT_SECONDS)
            await asyncio.to_thread(self._warm_up_service)
            await self._feed_several(pipeline, islice(numbers, WARM_UP_INPUTS))
            before = await asyncio.to_thread(wait_until_settled, self._snapshot_resources, None)
            progress = asyncio.create_task(self._log_progress())
            await self._feed_several(pipeline, numbers)
            progress.cancel()
            after = await asyncio.to_thread(
                wait_until_settled, self._snapshot_resources, before.processes
            )
        self._findings.leaks += after.find_leaks_since(before)
        self._findings.leaks += [f"input: {path.name}" for path in self._scratch.iterdir()]
        return self._findings.summary() | self._run_metadata(before, after)

    def _warm_up_service(self) -> None:
        """Submit an intact clip: a worker's first face starts a process, for its shared memory."""
        if self._service is not None:
            seed = self._plan.seeds[0]
            clip = self._scratch / seed.name
            clip.write_bytes(seed.data)
            self._service.try_clip(clip, AnalysisOptions())
            clip.unlink()

    async def _feed_several(self, pipeline: InProcessPipeline, numbers: Iterator[int]) -> None:
        async def feed() -> None:
            for number in numbers:
                await self._feed_one(pipeline, make_input(plan.seeds, plan.run_seed, number))

        plan = self._plan
        async with asyncio.TaskGroup() as feeders:
            for _ in range(plan.at_once):
                feeders.create_task(feed())

    async def _feed_one(self, pipeline: InProcessPipeline, fuzz_input: FuzzInput) -> None:
        clip = self._scratch / fuzz_input.name
        clip.write_bytes(fuzz_input.data)
        try:
            outcome = await pipeline.try_clip(clip, fuzz_input.options)
            through_service = await self._try_service(clip, fuzz_input)
        finally:
            clip.unlink()
        self._findings.add(fuzz_input, outcome, through_service)

    async def _try_service(self, clip: Path, fuzz_input: FuzzInput) -> Outcome | None:
        """Outcome through the service; None: not selected, or the service has lost a part."""
        stack, service, lost = self._stack, self._service, self._findings.parts_lost
        if stack is None or service is None or lost or fuzz_input.number % self._plan.service_every:
            return None
        outcome = await asyncio.to_thread(service.try_clip, clip, fuzz_input.options)
        lost += [part for part in stack.find_ended_parts() if part not in lost]
        return outcome

    def _snapshot_resources(self) -> ResourceSnapshot:
        return snapshot_resources(self._find_strays)

    def _find_strays(self) -> list[str]:
        if self._stack is None or self._service is None:
            return []
        settings = self._stack.settings
        jobs = self._service.jobs
        with Redis.from_url(settings.redis_url, decode_responses=True) as redis:  # pyright: ignore[reportUnknownMemberType]  # its keyword arguments have no types
            return find_stray_files(settings.store_dir, jobs) + find_stray_keys(redis, jobs)

    async def _log_progress(self) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            found, seconds = self._findings.summary(), time.monotonic() - self._began
            names = ("deaths", "hangs", "defects", "decoder_crashes", "time_limits")
            counts = ", ".join(f"{found[name]} {name.replace('_', ' ')}" for name in names)
            done = found["inputs"]
            self._log(f"{done} of {self._plan.inputs} ({done / seconds:.1f}/s): {counts}")

    def _run_metadata(self, before: ResourceSnapshot, after: ResourceSnapshot) -> dict[str, Any]:
        seconds = time.monotonic() - self._began
        lasting = sorted(before.resident_mib.keys() & after.resident_mib.keys())
        return {
            "seed": self._plan.run_seed,
            "first": self._plan.first_number,
            "seconds": round(seconds, 1),
            "inputs_per_second": round(self._plan.inputs / seconds, 2),
            "processes": {"before": before.processes, "after": after.processes},
            "resident_mib": [
                [before.resident_mib[pid], after.resident_mib[pid]] for pid in lasting
            ],
        }
