"""Folder store: readiness, reserve, full file systems, and the sweep of partial files."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.blobstore.folder import ABANDONED_SECONDS, FolderStore
from service.errors import StoreFull, StoreUnavailable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(folder: Path) -> FolderStore:
    return FolderStore(folder)


async def megabytes(number: int) -> AsyncIterator[bytes]:
    for index in range(number):
        yield bytes([index]) * 1_000_003


def files_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


async def test_a_store_that_cannot_be_written_is_not_ready(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    await asyncio.to_thread(blocked.write_text, "a file where the folder should be")
    store = FolderStore(blocked)

    assert not await store.is_ready()
    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", megabytes(1))


async def test_a_deleted_folder_is_created_again(store: FolderStore, folder: Path) -> None:
    await store.put("clips/a", megabytes(1))
    await asyncio.to_thread(shutil.rmtree, folder)

    assert await store.put("clips/b", megabytes(1)) == 1_000_003


async def test_reserved_space_is_not_used_by_new_clips(folder: Path) -> None:
    free_bytes = shutil.disk_usage(folder.parent).free
    store = FolderStore(folder, reserve_bytes=free_bytes // 2)

    await store.check_free_space(0)
    await store.check_free_space(free_bytes // 4)
    with pytest.raises(StoreFull):
        await store.check_free_space(3 * free_bytes // 4)
    with pytest.raises(StoreFull):
        await FolderStore(folder, reserve_bytes=2 * free_bytes).check_free_space(0)


_LIMITED_WRITER_SCRIPT = """
import asyncio, resource, sys
from pathlib import Path
from service.errors import StoreFull
from service.blobstore import FolderStore

async def megabytes(number):
    for _ in range(number):
        yield bytes(2**20)

async def main():
    store = FolderStore(Path(sys.argv[1]))
    await store.put("clips/small", megabytes(2))
    resource.setrlimit(resource.RLIMIT_FSIZE, (5 * 2**20, resource.RLIM_INFINITY))
    try:
        await store.put("clips/big", megabytes(20))
    except StoreFull:
        sys.stdout.write("full")
    await store.put("results/small", megabytes(2))
    await asyncio.sleep(0.1)  # a late thread of obstore would abort the interpreter's exit

asyncio.run(main())
"""


async def test_full_file_system_raises_store_full_and_leaves_no_partial_file(folder: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LIMITED_WRITER_SCRIPT, folder, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()

    assert (process.returncode, output) == (0, b"full")
    assert sorted(files_in(folder)) == ["clips/small", "results/small"]


_ENDLESS_WRITER_SCRIPT = """
import asyncio, sys
from pathlib import Path
from service.blobstore import FolderStore

async def endless():
    while True:
        yield bytes(3_000_000)
        await asyncio.sleep(0.05)

asyncio.run(FolderStore(Path(sys.argv[1])).put("clips/a", endless()))
"""


async def _kill_a_writer(folder: Path) -> Path:
    """Kill a process while it writes a clip; returns its partial file."""
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-c", _ENDLESS_WRITER_SCRIPT, folder]
    )
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(files_in, folder):  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(0.05)
    process.kill()
    await asyncio.to_thread(process.wait)
    (partial,) = await asyncio.to_thread(files_in, folder)
    return folder / partial


async def _backdate(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    await asyncio.to_thread(os.utime, path, (then, then))


async def test_abandoned_partial_file_is_swept_once_old(store: FolderStore, folder: Path) -> None:
    partial = await _kill_a_writer(folder)
    await store.put("clips/whole", megabytes(1))
    await _backdate(folder / "clips" / "whole", 10 * ABANDONED_SECONDS)

    assert await store.sweep() == 0  # it may still have a writer
    await _backdate(partial, ABANDONED_SECONDS + 1)
    assert await store.sweep() == 1

    assert files_in(folder) == ["clips/whole"]


async def test_sweep_of_a_missing_folder_removes_nothing(store: FolderStore) -> None:
    assert await store.sweep() == 0
