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

from service.errors import StoreUnavailable, UploadInterrupted
from service.store import ABANDONED_SECONDS, FolderStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


@pytest.fixture
def store(folder: Path) -> FolderStore:
    return FolderStore(folder)


async def megabytes(number: int, then: Exception | None = None) -> AsyncIterator[bytes]:
    for index in range(number):
        yield bytes([index]) * 1_000_003
    if then is not None:
        raise then


def files_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


async def test_what_was_put_is_what_is_read(store: FolderStore) -> None:
    size = await store.put("clips/a", megabytes(5))

    expected = b"".join([chunk async for chunk in megabytes(5)])
    assert size == len(expected)
    assert b"".join([chunk async for chunk in await store.get("clips/a")]) == expected
    async with store.open_file("clips/a") as path:
        assert await asyncio.to_thread(path.read_bytes) == expected


async def test_content_that_breaks_leaves_nothing_and_says_why(
    store: FolderStore, folder: Path
) -> None:
    with pytest.raises(UploadInterrupted):
        await store.put("clips/a", megabytes(5, then=UploadInterrupted()))

    assert files_in(folder) == []


async def test_an_error_of_the_content_is_not_taken_for_the_stores(store: FolderStore) -> None:
    with pytest.raises(OSError, match="the content's own"):
        await store.put("clips/a", megabytes(1, then=OSError("the content's own")))


async def test_a_cancelled_put_leaves_nothing(store: FolderStore, folder: Path) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(3_000_000)
        reached.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(store.put("clips/a", endless()))
    await reached.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert asyncio.all_tasks() == {asyncio.current_task()}
    async with asyncio.timeout(5):
        while await asyncio.to_thread(files_in, folder):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_blob_is_seen_whole_or_not_at_all(store: FolderStore) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(3_000_000)
        await release.wait()
        yield b"end"

    putting = asyncio.create_task(store.put("clips/a", slow()))
    await asyncio.sleep(0.1)
    with pytest.raises(KeyError):
        await store.get("clips/a")
    release.set()
    assert await putting == 3_000_003


async def test_an_absent_blob_is_a_key_error(store: FolderStore) -> None:
    with pytest.raises(KeyError):
        await store.get("clips/nobody")
    with pytest.raises(KeyError):
        async with store.open_file("clips/nobody"):
            pass


async def test_deleting_twice_is_no_error(store: FolderStore, folder: Path) -> None:
    await store.put("clips/a", megabytes(1))

    await store.delete("clips/a")
    await store.delete("clips/a")

    assert files_in(folder) == []


async def test_a_store_that_can_be_written_is_ready(store: FolderStore, folder: Path) -> None:
    assert await store.is_ready()
    assert files_in(folder) == []


async def test_a_store_that_cannot_be_written_is_not_ready(tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    await asyncio.to_thread(blocked.write_text, "a file where the folder should be")
    store = FolderStore(blocked)

    assert not await store.is_ready()
    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", megabytes(1))


async def test_a_folder_that_vanishes_is_made_again(store: FolderStore, folder: Path) -> None:
    await store.put("clips/a", megabytes(1))
    await asyncio.to_thread(shutil.rmtree, folder)

    assert await store.put("clips/b", megabytes(1)) == 1_000_003


_WRITER = """
import asyncio, sys
from pathlib import Path
from service.store import FolderStore

async def endless():
    while True:
        yield bytes(3_000_000)
        await asyncio.sleep(0.05)

asyncio.run(FolderStore(Path(sys.argv[1])).put("clips/a", endless()))
"""


async def _kill_a_writer(folder: Path) -> Path:
    """What a process leaves that is killed in the middle of a clip."""
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", _WRITER, folder])
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(files_in, folder):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    process.kill()
    await asyncio.to_thread(process.wait)
    (left,) = await asyncio.to_thread(files_in, folder)
    return folder / left


async def _age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    await asyncio.to_thread(os.utime, path, (then, then))


async def test_what_a_killed_writer_left_is_swept_once_it_is_old(
    store: FolderStore, folder: Path
) -> None:
    partial = await _kill_a_writer(folder)
    await store.put("clips/whole", megabytes(1))
    await _age(folder / "clips" / "whole", 10 * ABANDONED_SECONDS)

    assert await store.sweep() == 0  # it may still have a writer
    await _age(partial, ABANDONED_SECONDS + 1)
    assert await store.sweep() == 1

    assert files_in(folder) == ["clips/whole"]


async def test_a_store_is_tidied_while_it_is_open(store: FolderStore, folder: Path) -> None:
    await _age(await _kill_a_writer(folder), ABANDONED_SECONDS + 1)

    async with store.kept_tidy(), asyncio.timeout(5):
        while await asyncio.to_thread(files_in, folder):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_folder_that_is_not_there_yet_needs_no_sweeping(store: FolderStore) -> None:
    assert await store.sweep() == 0
