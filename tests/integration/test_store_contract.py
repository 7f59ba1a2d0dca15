"""Contract of the blob stores, tested with a folder and a real bucket."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from service.blobstore import open_store
from service.domain.ports import BlobStore
from service.errors import UploadInterrupted
from service.settings import Settings
from tests.integration.bucket_server import BucketServer, credentials_environment
from tests.integration.job_environment import eventually

SIZES = (0, 1, 2**20, 2**20 + 1, 8 * 2**20, 8 * 2**20 + 1, 20_000_003)


@dataclass(frozen=True, kw_only=True)
class StoreUnderTest:
    """A store, and a listing of its actual files."""

    store: BlobStore
    settings: Settings
    list_files: Callable[[], list[str]]


@pytest.fixture(params=["folder", "bucket"])
def under_test(request: pytest.FixtureRequest, tmp_path: Path) -> StoreUnderTest:
    if request.param == "folder":
        folder = tmp_path / "store"
        settings = Settings(store_dir=folder, store_reserve_bytes=0)
        return StoreUnderTest(
            store=open_store(settings),
            settings=settings,
            list_files=lambda: [
                str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
            ],
        )
    server: BucketServer = request.getfixturevalue("bucket_server")
    request.getfixturevalue("bucket_credentials")
    prefix = uuid4().hex
    settings = Settings(**server.settings(prefix, store_scratch_dir=tmp_path / "scratch"))
    return StoreUnderTest(
        store=open_store(settings), settings=settings, list_files=lambda: server.list_files(prefix)
    )


async def iterate_content(content: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_003):
        yield content[start : start + 100_003]
    if then is not None:
        raise then


def random_content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def read_blob(store: BlobStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])


@pytest.mark.parametrize("size", SIZES)
async def test_a_blob_round_trips(under_test: StoreUnderTest, size: int) -> None:
    content = random_content(size)

    assert await under_test.store.put("clips/a", iterate_content(content)) == size

    assert await read_blob(under_test.store, "clips/a") == content
    async with under_test.store.open_file("clips/a") as path:
        assert await asyncio.to_thread(path.read_bytes) == content


async def test_a_blob_is_replaced_as_a_whole(under_test: StoreUnderTest) -> None:
    await under_test.store.put("clips/a", iterate_content(random_content(9_000_000)))
    with pytest.raises(UploadInterrupted):
        await under_test.store.put(
            "clips/a", iterate_content(random_content(12_000_000), then=UploadInterrupted())
        )
    assert await read_blob(under_test.store, "clips/a") == random_content(9_000_000)

    await under_test.store.put("clips/a", iterate_content(b"another"))
    assert await read_blob(under_test.store, "clips/a") == b"another"


@pytest.mark.parametrize("size", [0, 1000, 20_000_000])
@pytest.mark.parametrize("error", [UploadInterrupted(), OSError("the content's own")])
async def test_a_failing_source_leaves_nothing_and_its_error_is_raised(
    under_test: StoreUnderTest, size: int, error: Exception
) -> None:
    with pytest.raises(type(error)) as raised:
        await under_test.store.put("clips/a", iterate_content(random_content(size), then=error))

    assert raised.value is error
    assert under_test.list_files() == []


@pytest.mark.parametrize("size", [1000, 20_000_000])
async def test_a_cancelled_put_leaves_nothing(under_test: StoreUnderTest, size: int) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for chunk in iterate_content(random_content(size)):
            yield chunk
        reached.set()
        await asyncio.Event().wait()

    put_task = asyncio.create_task(under_test.store.put("clips/a", endless()))
    await reached.wait()
    put_task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await put_task

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert under_test.list_files() == []


async def test_a_put_cancelled_at_any_moment_stores_all_or_nothing(
    under_test: StoreUnderTest,
) -> None:
    content = random_content(20_000_003)
    delays = random.Random(0)
    for number in range(20):
        put_task = asyncio.create_task(
            under_test.store.put(f"clips/{number}", iterate_content(content))
        )
        await asyncio.wait([put_task], timeout=delays.uniform(0.0, 0.15))
        put_task.cancel()
        with suppress(asyncio.CancelledError):
            assert await put_task == len(content)

    stored = {blob.key: blob.size_bytes async for blob in under_test.store.list("clips")}
    assert set(stored.values()) <= {len(content)}
    assert sorted(under_test.list_files()) == sorted(stored)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_incomplete_blob_is_not_visible(under_test: StoreUnderTest) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for chunk in iterate_content(random_content(20_000_000)):
            yield chunk
        await release.wait()
        yield b"end"

    put_task = asyncio.create_task(under_test.store.put("clips/a", slow()))

    async def begun() -> bool | None:
        return True if under_test.list_files() else None

    await eventually(begun)
    with pytest.raises(KeyError):
        await under_test.store.get("clips/a")
    assert [blob async for blob in under_test.store.list("clips")] == []
    release.set()
    assert await put_task == 20_000_003
    assert await read_blob(under_test.store, "clips/a") == random_content(20_000_000) + b"end"


async def test_an_absent_blob_is_a_key_error(under_test: StoreUnderTest) -> None:
    with pytest.raises(KeyError):
        await under_test.store.get("clips/nobody")
    with pytest.raises(KeyError):
        async with under_test.store.open_file("clips/nobody"):
            pass


async def test_deleting_twice_is_no_error(under_test: StoreUnderTest) -> None:
    await under_test.store.put("clips/a", iterate_content(b"clip"))

    await under_test.store.delete("clips/a")
    await under_test.store.delete("clips/a")

    assert under_test.list_files() == []


async def test_deleting_a_prefix_deletes_no_sibling(under_test: StoreUnderTest) -> None:
    for key in ("results/ab/1.csv", "results/ab/1.json", "results/abc/1.csv", "clips/ab"):
        await under_test.store.put(key, iterate_content(b"some"))

    assert await under_test.store.delete_all("results/ab") == 2
    assert await under_test.store.delete_all("results/ab") == 0

    assert sorted(under_test.list_files()) == ["clips/ab", "results/abc/1.csv"]


async def test_blobs_are_listed_with_their_size_and_age(under_test: StoreUnderTest) -> None:
    await under_test.store.put("clips/a", iterate_content(random_content(9_000_000)))
    await under_test.store.put("clips/b", iterate_content(b"bb"))
    await under_test.store.put("results/a/1.csv", iterate_content(b"ccc"))

    found = {blob.key: blob async for blob in under_test.store.list("clips")}
    deep = [blob.key async for blob in under_test.store.list("results")]

    assert {key: blob.size_bytes for key, blob in found.items()} == {
        "clips/a": 9_000_000,
        "clips/b": 2,
    }
    assert all(abs(time.time() - blob.modified_at) < 60 for blob in found.values())
    assert deep == ["results/a/1.csv"]
    assert [blob async for blob in under_test.store.list("nothing")] == []


async def test_more_blobs_are_listed_than_fit_a_page(under_test: StoreUnderTest) -> None:
    names = {f"clips/{number:04}" for number in range(1_100)}
    for some in range(0, 1_100, 100):
        batch = sorted(names)[some : some + 100]
        await asyncio.gather(*(under_test.store.put(name, iterate_content(b"x")) for name in batch))

    found = [blob.key async for blob in under_test.store.list("clips")]

    assert len(found) == 1_100
    assert set(found) == names


async def test_a_store_that_can_be_written_is_ready_and_stays_clean(
    under_test: StoreUnderTest,
) -> None:
    assert await under_test.store.is_ready()
    assert under_test.list_files() == []


_BIG_BLOB_PROGRAM = """
import asyncio, sys
from pathlib import Path
from service.settings import Settings
from service.blobstore import open_store

def peak_bytes():
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

async def megabytes(number):
    for index in range(number):
        yield bytes([index % 256]) * 2**20

async def round_trip(store, number):
    await store.put("clips/big", megabytes(number))
    size = 0
    async for chunk in await store.get("clips/big"):
        size += len(chunk)
    async with store.open_file("clips/big") as path:
        assert path.stat().st_size == size == number * 2**20

async def main():
    store = open_store(Settings())
    await round_trip(store, 2)
    before = peak_bytes()
    await round_trip(store, 300)
    print(peak_bytes() - before)

asyncio.run(main())
"""


async def test_a_big_blob_is_streamed_in_bounded_memory(under_test: StoreUnderTest) -> None:
    settings = under_test.settings
    values = settings.model_dump(include=settings.model_fields_set, mode="json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _BIG_BLOB_PROGRAM,
        env=credentials_environment()
        | {f"CIRCUMPLEX_{name}".upper(): str(values[name]) for name in values},
        stdout=subprocess.PIPE,
    )
    growth, _ = await process.communicate()

    assert process.returncode == 0
    assert int(growth) < 120 * 2**20, f"grew by {int(growth) / 2**20:.0f} MiB"
