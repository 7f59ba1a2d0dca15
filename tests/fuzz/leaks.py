"""Leak detection: processes, handles, files, Redis keys and shared memory left by a run.

Two snapshots are compared, both taken while no input is in flight: one after the warm-up, one at
the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import psutil
from redis import Redis

HANDLE_TOLERANCE: Final = 16
"""Handles that a process may gain: pools open and close connections."""
SETTLE_TIMEOUT_SECONDS: Final = 30.0
_SETTLE_POLL_SECONDS: Final = 0.25
_SHARED_MEMORY_DIR: Final = Path("/dev/shm")  # read only


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSnapshot:
    """Resources of a run. handle_counts, resident_mib: by process id.

    strays: files and keys that belong to no job of the run.
    """

    processes: int
    zombies: int
    handle_counts: Mapping[int, int]
    resident_mib: Mapping[int, float]
    strays: tuple[str, ...] = ()

    def find_leaks_since(self, before: ResourceSnapshot) -> list[str]:
        """Describe the resources that were not released since an earlier snapshot."""
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
    """Take snapshots until no zombie or surplus process is left, or the timeout has passed."""
    end = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while True:
        snapshot = take_snapshot()
        has_settled = max_processes is None or snapshot.processes <= max_processes
        if (has_settled and not snapshot.zombies) or time.monotonic() > end:
            return snapshot
        time.sleep(_SETTLE_POLL_SECONDS)


def snapshot_resources(find_strays: Callable[[], list[str]]) -> ResourceSnapshot:
    """Take a snapshot of this process, its descendants, and the strays."""
    handles: dict[int, int] = {}
    mebibytes: dict[int, float] = {}
    zombies = 0
    this_process = psutil.Process()
    for process in (this_process, *this_process.children(recursive=True)):
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
    """Names of all shared memory of the machine."""
    return frozenset(path.name for path in _SHARED_MEMORY_DIR.glob("*"))


def find_leaked_shared_memory(before: frozenset[str]) -> list[str]:
    """List new shared memory that no running process maps."""
    names = sorted(list_shared_memory() - before)
    return [f"shared memory: {name}" for name in names if not _is_mapped(name)]


def find_stray_files(folder: Path, jobs: Set[str]) -> list[str]:
    """Files of a store that are not complete clips or results of these jobs."""
    blobs = ("clips", "results")
    paths = (path for part in blobs for path in (folder / part).rglob("*") if path.is_file())
    return [
        str(path.relative_to(folder))
        for path in paths
        if "#" in path.name or not jobs & {path.name, path.parent.name}
    ]


def find_stray_keys(redis: Redis, jobs: Set[str]) -> list[str]:
    """Keys without expiry that are no record or events of these jobs."""
    keys = cast(Iterator[str], redis.scan_iter())  # pyright: ignore[reportUnknownMemberType]  # its arguments have no types
    return [
        name
        for name in keys
        if (job := name.rpartition(":")[2]).count("-") == 4
        and redis.ttl(name) == -1
        and not (job in jobs and name.split(":")[-2] in ("job", "events"))
    ]


def _is_mapped(name: str) -> bool:
    """Return whether a running process maps it, so that it is in use."""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with suppress(OSError):
            if f"{_SHARED_MEMORY_DIR}/{name}" in maps.read_text(errors="replace"):
                return True
    return False
