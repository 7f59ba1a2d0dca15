"""Memory of this machine that decode processes may use in sum, and the grant of each.

Of the memory of the machine, or of its control group, decode processes get a fixed share: one half
of it the clips of the worker, the other the streams of the gateway. A process with a normal grant
decodes 4K; a clip with larger frames waits until the pool has room for the largest grant.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.domain.clip import ClipOpened
from service.errors import TooManyStreams
from service.settings import Settings

MEBIBYTE: Final = 2**20
DECODE_FRACTION: Final = 0.6
"""Share of the memory for decode processes; the rest is for models, queue, gateway and worker."""
MAX_GRANT_BYTES: Final = 4096 * MEBIBYTE
CLIP_GRANT_BYTES: Final = 768 * MEBIBYTE
"""Normal grant of a clip: twice what 4K of 10 bits needs."""
MIN_STREAM_GRANT_BYTES: Final = 384 * MEBIBYTE
BYTES_PER_PIXEL: Final = 80
"""Memory for each pixel of a frame; measured: 8192 x 4304 of 10 bits needs 60 to 87."""
STREAM_RETRY_SECONDS: Final = 5.0
"""Advised delay before a stream that found no memory is tried again."""
_CGROUP_FOLDER: Final = Path("/sys/fs/cgroup")
_CGROUP_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Memory of the decode processes, bytes. pool: of all together; normal, largest: of one."""

    pool_bytes: int
    normal_bytes: int
    largest_bytes: int

    @staticmethod
    def for_clips(settings: Settings, memory_bytes: int) -> MemoryPlan:
        """Plan the processes of a worker on a machine with this memory."""
        pool = _half_share(memory_bytes)
        if settings.decode_memory_bytes is not None:
            return _fixed_plan(settings.decode_memory_bytes, pool)
        return MemoryPlan(
            pool_bytes=pool,
            normal_bytes=min(CLIP_GRANT_BYTES, pool),
            largest_bytes=min(MAX_GRANT_BYTES, pool),
        )

    @staticmethod
    def for_streams(settings: Settings, memory_bytes: int) -> MemoryPlan:
        """Plan the processes of a gateway, with an equal grant for each stream."""
        pool = _half_share(memory_bytes)
        if settings.decode_memory_bytes is not None:
            return _fixed_plan(settings.decode_memory_bytes, pool)
        streams = settings.count_streams() + settings.count_reserved_streams()
        fair = max(pool // streams, MIN_STREAM_GRANT_BYTES)
        grant = min(fair, MAX_GRANT_BYTES, pool)
        return MemoryPlan(pool_bytes=pool, normal_bytes=grant, largest_bytes=grant)

    def is_too_small(self, grant_bytes: int, opened: ClipOpened) -> bool:
        """Return whether a clip's frames need more than this grant, and could have it."""
        media = opened.media
        coded = (media.coded_width or 0) * (media.coded_height or 0)
        pixels = max(coded, media.width * media.height)
        return grant_bytes < min(pixels * BYTES_PER_PIXEL, self.largest_bytes)


def _half_share(memory_bytes: int) -> int:
    return int(memory_bytes * DECODE_FRACTION / 2)


def _fixed_plan(grant_bytes: int, pool_bytes: int) -> MemoryPlan:
    return MemoryPlan(
        pool_bytes=max(pool_bytes, grant_bytes), normal_bytes=grant_bytes, largest_bytes=grant_bytes
    )


class MemoryPool:
    """Grants of memory to the decode processes of this process, in the order of the requests."""

    def __init__(self, plan: MemoryPlan) -> None:
        self.plan = plan
        self._free_bytes = plan.pool_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def plan_for(self, settings: Settings) -> MemoryPlan:
        """Return the plan, with the grant that these settings fix, if they do."""
        if settings.decode_memory_bytes is None:
            return self.plan
        return _fixed_plan(settings.decode_memory_bytes, self.plan.pool_bytes)

    @asynccontextmanager
    async def wait_for_grant(self, grant_bytes: int) -> AsyncGenerator[None]:
        """Take memory while the context lasts; waits until the pool has it."""
        size = min(grant_bytes, self.plan.pool_bytes)
        if self._waiting or size > self._free_bytes:
            await self._wait(size)
        else:
            self._free_bytes -= size
        try:
            yield
        finally:
            self._give_back(size)

    @contextmanager
    def stream_grant(self) -> Generator[None]:
        """Take a normal grant while the context lasts. Raises: TooManyStreams."""
        size = self.plan.normal_bytes
        if size > self._free_bytes:
            raise TooManyStreams(
                "the memory of this machine allows no further stream",
                retry_seconds=STREAM_RETRY_SECONDS,
            )
        self._free_bytes -= size
        try:
            yield
        finally:
            self._give_back(size)

    async def _wait(self, size: int) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, granted))
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(size)
            else:
                self._waiting.remove((size, granted))
                self._serve()
            raise

    def _give_back(self, size: int) -> None:
        self._free_bytes += size
        self._serve()

    def _serve(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._free_bytes:
            size, granted = self._waiting.popleft()
            self._free_bytes -= size
            granted.set_result(None)


def measure_memory_bytes(cgroup_folder: Path = _CGROUP_FOLDER) -> int:
    """Measure the memory of this machine, or of this process's control group if that is less."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for folder in (cgroup_folder, _own_cgroup(cgroup_folder)):
        for name in _CGROUP_FILES:
            with suppress(OSError, ValueError):  # absent, or without limit: `max`
                sizes.append(int((folder / name).read_text()))
    return min(sizes)


def _own_cgroup(cgroup_folder: Path) -> Path:
    """Return the folder of this process's group, of version 2, where namespaces do not hide it."""
    with suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            number, _, path = line.split(":", 2)
            if number == "0":
                return cgroup_folder / path.lstrip("/")
    return cgroup_folder
