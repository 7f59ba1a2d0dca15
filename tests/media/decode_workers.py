"""Decode processes of a test: requests for them, and the list of those that exist."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from service.decoding.cpu_budget import CpuBudget, WorkAccount
from service.decoding.extractor import ForkedClipExtractor
from service.domain.clip import ClipClosed, ExtractionEvent
from service.domain.media import Flag
from service.domain.options import AnalysisOptions
from service.errors import CircumplexError
from service.settings import Settings

SETTINGS = Settings()
GOOD_CLIP_FRAMES = 5
"""Frames of the fixture `good_clip`."""


def work_account() -> WorkAccount:
    """Make an account that no test exceeds."""
    return WorkAccount(CpuBudget.from_settings(SETTINGS), media_bytes=2**30)


def settings(**changes: object) -> Settings:
    return SETTINGS.model_copy(update=changes)


class Reader:
    """Reads clips by one forkserver, each with its own settings."""

    def __init__(self, extractor: ForkedClipExtractor) -> None:
        self._extractor = extractor

    def open(
        self, clip: Path, **changes: object
    ) -> AbstractAsyncContextManager[AsyncIterator[ExtractionEvent]]:
        return replace(self._extractor, settings=settings(**changes))(clip, AnalysisOptions())

    async def read(self, clip: Path, **changes: object) -> list[ExtractionEvent]:
        async with self.open(clip, **changes) as messages:
            return [message async for message in messages]


async def drain(messages: AsyncIterator[ExtractionEvent]) -> None:
    async for _ in messages:
        continue


def find_forkservers() -> list[psutil.Process]:
    """Find the forkservers that this process started and has not reaped."""
    return [child for child in psutil.Process().children() if is_forkserver(child)]


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def wait_for_single_forkserver() -> psutil.Process:
    """Wait until those that were replaced have ended."""
    await until(lambda: len(find_forkservers()) == 1)
    (process,) = find_forkservers()
    return process


async def wait_for_single_worker() -> int:
    """Wait until there is exactly one decode process; returns its pid."""
    await until(lambda: len(decode_worker_pids()) == 1)
    (pid,) = decode_worker_pids()
    return pid


def is_forkserver(process: psutil.Process) -> bool:
    """Return whether a process is a forkserver; zombies have no command line and count."""
    try:
        return (
            process.status() == psutil.STATUS_ZOMBIE
            or "service.decoding.worker" in process.cmdline()
        )
    except psutil.ZombieProcess:
        return True
    except psutil.NoSuchProcess:
        return False


def read_process_status(pid: int) -> dict[str, str]:
    """Read the status of a process in /proc."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def has_ended(pid: int) -> bool:
    """Return whether a process has ended, reaped or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def decode_worker_pids() -> set[int]:
    """Find the decode processes that exist, or were not reaped."""
    found: set[int] = set()
    for forkserver in find_forkservers():
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid for child in forkserver.children()}
    return found


async def read_frame_count_and_flags(
    reader: Reader, clip: Path, **changes: object
) -> tuple[int, set[Flag]]:
    """Read a clip; returns its frames and flags."""
    closed = (await reader.read(clip, **changes))[-1]
    assert isinstance(closed, ClipClosed)
    return closed.frames, set(closed.flags)


async def assert_fails_alone(
    reader: Reader, clip: Path, error: type[CircumplexError], good_clip: Path, **changes: object
) -> None:
    """Check that a clip fails with this error, and the next one does not."""
    with pytest.raises(error):
        await reader.read(clip, **changes)
    assert not decode_worker_pids()
    assert (await read_frame_count_and_flags(reader, good_clip))[0] == GOOD_CLIP_FRAMES
