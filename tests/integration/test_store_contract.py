"""What holds for every store: the same tests over a folder and over a real bucket."""

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

from service.domain.ports import Store
from service.errors import UploadInterrupted
from service.settings import Settings
from service.store import open_store
from tests.integration.buckets import BucketServer, environment
from tests.integration.rooms import eventually

SIZES = (0, 1, 2**20, 2**20 + 1, 8 * 2**20, 8 * 2**20 + 1, 20_000_003)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A store, and what really lies in it."""

    store: Store
    settings: Settings
    files: Callable[[], list[str]]


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    if request.param == "folder":
        folder = tmp_path / "store"
        settings = Settings(store_dir=folder, store_reserve_bytes=0)
        return Kept(
            store=open_store(settings),
            settings=settings,
            files=lambda: [
                str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
            ],
        )
    server: BucketServer = request.getfixturevalue("bucket_server")
    request.getfixturevalue("bucket_credentials")
    prefix = uuid4().hex
    settings = Settings(**server.settings(prefix, store_scratch_dir=tmp_path / "scratch"))
    return Kept(store=open_store(settings), settings=settings, files=lambda: server.files(prefix))


async def pieces(content: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 100_003):
        yield content[start : start + 100_003]
    if then is not None:
        raise then


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def read(store: Store, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])


@pytest.mark.parametrize("size", SIZES)
async def test_what_was_put_is_what_is_read(kept: Kept, size: int) -> None:
    content = noise(size)

    assert await kept.store.put("clips/a", pieces(content)) == size

    assert await read(kept.store, "clips/a") == content
    async with kept.store.open_file("clips/a") as path:
        assert await asyncio.to_thread(path.read_bytes) == content


async def test_a_blob_is_replaced_as_a_whole(kept: Kept) -> None:
    await kept.store.put("clips/a", pieces(noise(9_000_000)))
    with pytest.raises(UploadInterrupted):
        await kept.store.put("clips/a", pieces(noise(12_000_000), then=UploadInterrupted()))
    assert await read(kept.store, "clips/a") == noise(9_000_000)

    await kept.store.put("clips/a", pieces(b"another"))
    assert await read(kept.store, "clips/a") == b"another"


@pytest.mark.parametrize("size", [0, 1000, 20_000_000])
@pytest.mark.parametrize("error", [UploadInterrupted(), OSError("the content's own")])
async def test_content_that_breaks_leaves_nothing_and_says_why(
    kept: Kept, size: int, error: Exception
) -> None:
    with pytest.raises(type(error)) as raised:
        await kept.store.put("clips/a", pieces(noise(size), then=error))

    assert raised.value is error
    assert kept.files() == []


@pytest.mark.parametrize("size", [1000, 20_000_000])
async def test_a_cancelled_put_leaves_nothing(kept: Kept, size: int) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        async for piece in pieces(noise(size)):
            yield piece
        reached.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(kept.store.put("clips/a", endless()))
    await reached.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting

    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert kept.files() == []


async def test_a_put_cancelled_at_any_moment_leaves_all_or_nothing(kept: Kept) -> None:
    content = noise(20_000_003)
    delays = random.Random(0)
    for number in range(20):
        putting = asyncio.create_task(kept.store.put(f"clips/{number}", pieces(content)))
        await asyncio.wait([putting], timeout=delays.uniform(0.0, 0.15))
        putting.cancel()
        with suppress(asyncio.CancelledError):
            assert await putting == len(content)

    whole = {blob.key: blob.size_bytes async for blob in kept.store.list("clips")}
    assert set(whole.values()) <= {len(content)}
    assert sorted(kept.files()) == sorted(whole)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_blob_is_seen_whole_or_not_at_all(kept: Kept) -> None:
    release = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        async for piece in pieces(noise(20_000_000)):
            yield piece
        await release.wait()
        yield b"end"

    putting = asyncio.create_task(kept.store.put("clips/a", slow()))

    async def begun() -> bool | None:
        return True if kept.files() else None

    await eventually(begun)
    with pytest.raises(KeyError):
        await kept.store.get("clips/a")
    assert [blob async for blob in kept.store.list("clips")] == []
    release.set()
    assert await putting == 20_000_003
    assert await read(kept.store, "clips/a") == noise(20_000_000) + b"end"


async def test_an_absent_blob_is_a_key_error(kept: Kept) -> None:
    with pytest.raises(KeyError):
        await kept.store.get("clips/nobody")
    with pytest.raises(KeyError):
        async with kept.store.open_file("clips/nobody"):
            pass


async def test_deleting_twice_is_no_error(kept: Kept) -> None:
    await kept.store.put("clips/a", pieces(b"clip"))

    await kept.store.delete("clips/a")
    await kept.store.delete("clips/a")

    assert kept.files() == []


async def test_what_is_under_a_prefix_goes_and_nothing_beside_it(kept: Kept) -> None:
    for key in ("results/ab/1.csv", "results/ab/1.json", "results/abc/1.csv", "clips/ab"):
        await kept.store.put(key, pieces(b"some"))

    assert await kept.store.delete_all("results/ab") == 2
    assert await kept.store.delete_all("results/ab") == 0

    assert sorted(kept.files()) == ["clips/ab", "results/abc/1.csv"]


async def test_blobs_are_listed_with_their_size_and_age(kept: Kept) -> None:
    await kept.store.put("clips/a", pieces(noise(9_000_000)))
    await kept.store.put("clips/b", pieces(b"bb"))
    await kept.store.put("results/a/1.csv", pieces(b"ccc"))

    found = {blob.key: blob async for blob in kept.store.list("clips")}
    deep = [blob.key async for blob in kept.store.list("results")]

    assert {key: blob.size_bytes for key, blob in found.items()} == {
        "clips/a": 9_000_000,
        "clips/b": 2,
    }
    assert all(abs(time.time() - blob.modified_at) < 60 for blob in found.values())
    assert deep == ["results/a/1.csv"]
    assert [blob async for blob in kept.store.list("nothing")] == []


async def test_more_blobs_are_listed_than_fit_a_page(kept: Kept) -> None:
    names = {f"clips/{number:04}" for number in range(1_100)}
    for some in range(0, 1_100, 100):
        batch = sorted(names)[some : some + 100]
        await asyncio.gather(*(kept.store.put(name, pieces(b"x")) for name in batch))

    found = [blob.key async for blob in kept.store.list("clips")]

    assert len(found) == 1_100
    assert set(found) == names


async def test_a_store_that_can_be_written_is_ready_and_stays_clean(kept: Kept) -> None:
    assert await kept.store.is_ready()
    assert kept.files() == []


_BIG = """
import asyncio, sys
from pathlib import Path
from service.settings import Settings
from service.store import open_store

def peak_bytes():
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024

async def megabytes(number):
    for index in range(number):
        yield bytes([index % 256]) * 2**20

async def through(store, number):
    await store.put("clips/big", megabytes(number))
    size = 0
    async for chunk in await store.get("clips/big"):
        size += len(chunk)
    async with store.open_file("clips/big") as path:
        assert path.stat().st_size == size == number * 2**20

async def main():
    store = open_store(Settings())
    await through(store, 2)
    before = peak_bytes()
    await through(store, 300)
    print(peak_bytes() - before)

asyncio.run(main())
"""


async def test_a_big_blob_passes_through_without_being_held(kept: Kept) -> None:
    told = kept.settings.model_dump(include=kept.settings.model_fields_set, mode="json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _BIG,
        env=environment() | {f"CIRCUMPLEX_{name}".upper(): str(told[name]) for name in told},
        stdout=subprocess.PIPE,
    )
    told_growth, _ = await process.communicate()

    assert process.returncode == 0
    assert int(told_growth) < 120 * 2**20, f"grew by {int(told_growth) / 2**20:.0f} MiB"
