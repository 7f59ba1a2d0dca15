"""What a run must not leave behind: processes, handles, files, keys, shared memory.

Two counts are compared, both taken while nothing is under way: one after the service has
warmed up, one at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from redis import Redis

HANDLE_TOLERANCE: Final = 16
"""Handles by which a process may have more at the end: connections of pools come and go."""
SETTLE_TIMEOUT_SECONDS: Final = 30.0
_SETTLE_POLL_SECONDS: Final = 0.25
_SHARED_MEMORY_DIR: Final = Path("/dev/shm")  # looked at, never written to


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSnapshot:
    """What there is. handles and mebibytes: of every process of the run, by its id.

    strays: files and keys that belong to no job of the run.
    """

    processes: int
    zombies: int
    handle_counts: Mapping[int, int]
    resident_mib: Mapping[int, float]
    strays: tuple[str, ...] = ()

    def find_leaks_since(self, before: ResourceSnapshot) -> list[str]:
        """What is there now, and should not be."""
        found = [f"stray: {each}" for each in self.strays]
        if self.processes > before.processes:
            found.append(f"processes: {before.processes} before, {self.processes} now")
        if self.zombies:
            found.append(f"zombies: {self.zombies}")
        for pid, handles in self.handle_counts.items():
            if handles > before.handle_counts.get(pid, handles) + HANDLE_TOLERANCE:
                found.append(f"handles of {pid}: {before.handle_counts[pid]} before, {handles} now")
        return found


def wait_until_settled(
    take_snapshot: Callable[[], ResourceSnapshot], max_processes: int | None
) -> ResourceSnapshot:
    """A census once ended processes are reaped and helpers of a moment are gone."""
    end = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while True:
        census = take_snapshot()
        is_calm = max_processes is None or census.processes <= max_processes
        if (is_calm and not census.zombies) or time.monotonic() > end:
            return census
        time.sleep(_SETTLE_POLL_SECONDS)


def snapshot_resources(find_strays: Callable[[], list[str]]) -> ResourceSnapshot:
    """The census of this process, of all that descend from it, and of what `strays` finds."""
    handles: dict[int, int] = {}
    mebibytes: dict[int, float] = {}
    zombies = 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE:
                zombies += 1
                continue
            handles[process.pid] = process.num_fds()
            mebibytes[process.pid] = round(process.memory_info().rss / 2**20, 1)
    return ResourceSnapshot(
        processes=len(handles),
        zombies=zombies,
        handle_counts=handles,
        resident_mib=mebibytes,
        strays=tuple(find_strays()),
    )


def list_shared_memory() -> frozenset[str]:
    """Names of all shared memory of the machine, whoever's."""
    return frozenset(path.name for path in _SHARED_MEMORY_DIR.glob("*"))


def find_leaked_shared_memory(before: frozenset[str]) -> list[str]:
    """What has come since, and no living process maps: its owner has ended without it."""
    names = sorted(list_shared_memory() - before)
    return [f"shared memory: {name}" for name in names if not _is_mapped(name)]


def find_stray_files(folder: Path, jobs: Set[str]) -> list[str]:
    """Files among the blobs of a store that are not whole clips or results of these jobs."""
    blobs = ("clips", "results")
    paths = (path for part in blobs for path in (folder / part).rglob("*") if path.is_file())
    return [
        str(path.relative_to(folder))
        for path in paths
        if "#" in path.name or not jobs & {path.name, path.parent.name}
    ]


def find_stray_keys(redis: Redis, jobs: Set[str]) -> list[str]:
    """Keys that last although no job of the run has them as its record or its events."""
    names = (str(key) for key in redis.scan_iter())
    return [
        name
        for name in names
        if (job := name.rpartition(":")[2]).count("-") == 4
        and redis.ttl(name) == -1
        and not (job in jobs and name.split(":")[-2] in ("job", "events"))
    ]


def _is_mapped(name: str) -> bool:
    """Whether a living process holds it: then it is somebody else's, and in use."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if f"{_SHARED_MEMORY_DIR}/{name}" in maps.read_text(errors="replace"):
                return True
    return False
