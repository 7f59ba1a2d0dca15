"""A bucket whose server is killed, silent, of another opinion, or not there."""

from __future__ import annotations

import asyncio
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from service.errors import StoreUnavailable
from service.settings import Settings
from service.store import open_store
from tests.integration.buckets import (
    BUCKET,
    KEY_ID,
    SECRET,
    BucketServer,
    environment,
    running_bucket,
)
from tests.integration.pretence import chunks_of
from tests.integration.rooms import eventually

MAX_SECONDS = 30.0
"""Far more than one second of patience, times the tries."""

pytestmark = pytest.mark.usefixtures("bucket_credentials")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[BucketServer]:
    """A server of one's own, to be killed."""
    with running_bucket(tmp_path) as server:
        yield server


async def endless(reached: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    while True:
        yield bytes(2**20)
        await asyncio.sleep(0.01)


def settings_of(server: BucketServer, **changes: object) -> Settings:
    return Settings(**server.settings(uuid4().hex, store_timeout_seconds=1.0, **changes))


async def begun(server: BucketServer) -> bool | None:
    return True if server.files("") else None


async def keys(settings: Settings, prefix: str) -> list[str]:
    return [blob.key async for blob in open_store(settings).list(prefix)]


async def test_a_server_killed_in_an_upload_has_no_part_of_it_to_show(
    mortal: BucketServer,
) -> None:
    settings = settings_of(mortal)
    store = open_store(settings)
    putting = asyncio.create_task(store.put("clips/a", endless()))
    await eventually(lambda: begun(mortal))

    mortal.kill()
    async with asyncio.timeout(MAX_SECONDS):
        with pytest.raises(StoreUnavailable):
            await putting
    mortal.start()

    with pytest.raises(KeyError):
        await store.get("clips/a")
    assert await keys(settings, "clips") == []
    assert await store.put("clips/a", chunks_of(b"clip")) == 4
    assert await keys(settings, "clips") == ["clips/a"]


_WRITER = """
import asyncio
from service.settings import Settings
from service.store import open_store

async def endless():
    while True:
        yield bytes(2**20)
        await asyncio.sleep(0.01)

asyncio.run(open_store(Settings()).put("clips/a", endless()))
"""


async def test_a_writer_killed_in_an_upload_leaves_nothing_that_can_be_seen(
    mortal: BucketServer,
) -> None:
    settings = settings_of(mortal)
    told = settings.model_dump(include=settings.model_fields_set, mode="json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WRITER,
        env=environment() | {f"CIRCUMPLEX_{name}".upper(): str(told[name]) for name in told},
        stderr=subprocess.DEVNULL,
    )
    await eventually(lambda: begun(mortal), 30.0)
    process.kill()
    await process.wait()

    with pytest.raises(KeyError):
        await open_store(settings).get("clips/a")
    assert await keys(settings, "clips") == []


async def test_a_server_that_is_away_is_told_soon_and_found_again(mortal: BucketServer) -> None:
    store = open_store(settings_of(mortal))
    await store.put("clips/a", chunks_of(b"clip"))
    mortal.kill()

    async with asyncio.timeout(MAX_SECONDS):
        assert not await store.is_ready()
        with pytest.raises(StoreUnavailable):
            await store.get("clips/a")
        with pytest.raises(StoreUnavailable):
            await store.put("clips/b", chunks_of(b"clip"))
        with pytest.raises(StoreUnavailable):
            await store.delete("clips/a")
        with pytest.raises(StoreUnavailable):
            await store.delete_all("clips")

    mortal.start()
    assert await store.is_ready()
    assert b"".join([chunk async for chunk in await store.get("clips/a")]) == b"clip"


async def test_a_server_that_takes_calls_and_never_answers_is_no_trap() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        settings = Settings(
            store_url=f"s3://{BUCKET}",
            store_endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
            store_allow_http=True,
            store_timeout_seconds=1.0,
        )
        store = open_store(settings)
        async with asyncio.timeout(MAX_SECONDS):
            with pytest.raises(StoreUnavailable):
                await store.get("clips/a")
            with pytest.raises(StoreUnavailable):
                await store.put("clips/a", endless())
            with pytest.raises(StoreUnavailable):
                await store.delete("clips/a")
            with pytest.raises(StoreUnavailable):
                await keys(settings, "clips")


@pytest.mark.parametrize(("key_id", "secret"), [("nobody", SECRET), (KEY_ID, "a-wrong-secret")])
async def test_wrong_credentials_are_one_clear_line_without_them(
    bucket_server: BucketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key_id: str,
    secret: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    store = open_store(settings_of(bucket_server))

    with caplog.at_level(logging.INFO), pytest.raises(StoreUnavailable) as raised:
        await store.put("clips/a", chunks_of(b"clip"))

    (line,) = caplog.messages
    assert "refuses these credentials" in line
    for text in (line, raised.value.detail):
        assert secret not in text
        assert key_id not in text
    assert not await store.is_ready()


async def test_a_bucket_that_is_not_there_is_no_absent_blob(bucket_server: BucketServer) -> None:
    settings = settings_of(bucket_server, store_url="s3://no-such-bucket")
    store = open_store(settings)

    with pytest.raises(StoreUnavailable):
        await store.get("clips/a")
    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", chunks_of(b"clip"))
    assert not await store.is_ready()


async def test_plain_http_is_used_only_where_it_is_allowed(bucket_server: BucketServer) -> None:
    store = open_store(settings_of(bucket_server, store_allow_http=False))

    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", chunks_of(b"clip"))


async def test_the_buckets_name_goes_into_the_host_where_it_should(
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = Settings(
        store_url=f"s3://{BUCKET}/deep",
        store_endpoint="http://nowhere.invalid",
        store_addressing="virtual",
        store_allow_http=True,
        store_timeout_seconds=1.0,
    )

    with pytest.raises(StoreUnavailable):
        await open_store(settings).get("a")

    assert f"http://{BUCKET}.nowhere.invalid/deep/a" in caplog.text


async def test_a_slow_reader_is_not_cut_off(bucket_server: BucketServer) -> None:
    async def content() -> AsyncIterator[bytes]:
        for index in range(40):
            yield bytes([index]) * 2**20

    store = open_store(settings_of(bucket_server))
    await store.put("results/a", content())
    size, pause_until = 0, time.monotonic() + 3.0
    async for chunk in await store.get("results/a"):
        size += len(chunk)
        if time.monotonic() < pause_until:
            await asyncio.sleep(1.5)

    assert size == 40 * 2**20


async def test_a_copy_of_a_clip_has_no_name_and_goes_with_its_context(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    store = open_store(settings_of(bucket_server, store_scratch_dir=scratch))
    await store.put("clips/a", chunks_of(b"clip"))

    async with store.open_file("clips/a") as path:
        assert await asyncio.to_thread(path.read_bytes) == b"clip"
        assert await asyncio.to_thread(lambda: list(scratch.iterdir())) == []

    assert not await asyncio.to_thread(path.exists)
