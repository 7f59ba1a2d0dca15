"""Decode children of a test: how they are asked for, and which are there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from service.decoding.extractor import ForkedClipExtractor
from service.domain.clip import ExtractionEvent
from service.domain.options import AnalysisOptions
from service.settings import Settings

SETTINGS = Settings()


def settings(**changes: object) -> Settings:
    return SETTINGS.model_copy(update=changes)


class Reader:
    """Reads clips by one nursery, each with settings of its own."""

    def __init__(self, extraction: ForkedClipExtractor) -> None:
        self.forkserver = extraction.forkserver
        self._extractor = extraction

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
    """The nurseries that this process started and has not reaped."""
    return [child for child in psutil.Process().children() if is_forkserver(child)]


async def wait_for_single_forkserver() -> psutil.Process:
    """The nursery, once those that were replaced have ended."""

    def wait() -> psutil.Process:
        end = time.monotonic() + 60
        while len(found := find_forkservers()) != 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        return found[0]

    return await asyncio.to_thread(wait)


def is_forkserver(child: psutil.Process) -> bool:
    """A zombie has no command line left, and counts: it should have been reaped."""
    try:
        return (
            child.status() == psutil.STATUS_ZOMBIE or "service.decoding.worker" in child.cmdline()
        )
    except psutil.ZombieProcess:
        return True
    except psutil.NoSuchProcess:
        return False


def read_process_status(pid: int) -> dict[str, str]:
    """What the kernel says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def wait_until_ended(pid: int) -> bool:
    """Whether a process ends within a minute; one that nobody has reaped yet has ended."""
    for _ in range(600):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        await asyncio.sleep(0.1)
    return False


def decode_worker_pids() -> set[int]:
    """The decode children that are there, and those that were not reaped."""
    found: set[int] = set()
    for nurse in find_forkservers():
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid for child in nurse.children()}
    return found
