"""Bucket store failures: a killed, silent or missing server, and rejected credentials."""

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

from service.blobstore import open_store
from service.errors import StoreUnavailable
from service.settings import Settings
from tests.integration.bucket_server import (
    BUCKET,
    KEY_ID,
    SECRET,
    BucketServer,
    credentials_environment,
    running_bucket,
)
from tests.integration.fakes import iterate_chunks
from tests.integration.job_environment import eventually

MAX_FAILURE_SECONDS = 30.0
"""Far more than the one-second timeout times the number of attempts."""

pytestmark = pytest.mark.usefixtures("bucket_credentials")


@pytest.fixture
def killable_server(tmp_path: Path) -> Iterator[BucketServer]:
    """A server of this test alone, which may kill it."""
    with running_bucket(tmp_path) as server:
        yield server


async def endless_chunks() -> AsyncIterator[bytes]:
    while True:
        yield bytes(2**20)
        await asyncio.sleep(0.01)


def bucket_settings(server: BucketServer, **changes: object) -> Settings:
    return Settings(**server.settings(uuid4().hex, store_timeout_seconds=1.0, **changes))


async def has_begun(server: BucketServer) -> bool | None:
    return True if server.list_files("") else None


async def list_keys(settings: Settings, prefix: str) -> list[str]:
    return [blob.key async for blob in open_store(settings).list(prefix)]


async def test_a_server_killed_during_an_upload_shows_no_partial_blob(
    killable_server: BucketServer,
) -> None:
    settings = bucket_settings(killable_server)
    store = open_store(settings)
    put_task = asyncio.create_task(store.put("clips/a", endless_chunks()))
    await eventually(lambda: has_begun(killable_server))

    killable_server.kill()
    async with asyncio.timeout(MAX_FAILURE_SECONDS):
        with pytest.raises(StoreUnavailable):
            await put_task
    killable_server.start()

    with pytest.raises(KeyError):
        await store.get("clips/a")
    assert await list_keys(settings, "clips") == []
    assert await store.put("clips/a", iterate_chunks(b"clip")) == 4
    assert await list_keys(settings, "clips") == ["clips/a"]


_WRITER = """
import asyncio
from service.settings import Settings
from service.blobstore import open_store

async def endless():
    while True:
        yield bytes(2**20)
        await asyncio.sleep(0.01)

asyncio.run(open_store(Settings()).put("clips/a", endless()))
"""


async def test_a_writer_killed_during_an_upload_leaves_no_visible_blob(
    killable_server: BucketServer,
) -> None:
    settings = bucket_settings(killable_server)
    values = settings.model_dump(include=settings.model_fields_set, mode="json")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WRITER,
        env=credentials_environment()
        | {f"CIRCUMPLEX_{name}".upper(): str(values[name]) for name in values},
        stderr=subprocess.DEVNULL,
    )
    await eventually(lambda: has_begun(killable_server), 30.0)
    process.kill()
    await process.wait()

    with pytest.raises(KeyError):
        await open_store(settings).get("clips/a")
    assert await list_keys(settings, "clips") == []


async def test_a_stopped_server_fails_fast_and_is_reconnected(
    killable_server: BucketServer,
) -> None:
    store = open_store(bucket_settings(killable_server))
    await store.put("clips/a", iterate_chunks(b"clip"))
    killable_server.kill()

    async with asyncio.timeout(MAX_FAILURE_SECONDS):
        assert not await store.is_ready()
        with pytest.raises(StoreUnavailable):
            await store.get("clips/a")
        with pytest.raises(StoreUnavailable):
            await store.put("clips/b", iterate_chunks(b"clip"))
        with pytest.raises(StoreUnavailable):
            await store.delete("clips/a")
        with pytest.raises(StoreUnavailable):
            await store.delete_all("clips")

    killable_server.start()
    assert await store.is_ready()
    assert b"".join([chunk async for chunk in await store.get("clips/a")]) == b"clip"


async def test_a_server_that_never_responds_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        settings = Settings(
            store_url=f"s3://{BUCKET}",
            store_endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
            store_allow_http=True,
            store_timeout_seconds=1.0,
        )
        store = open_store(settings)
        async with asyncio.timeout(MAX_FAILURE_SECONDS):
            with pytest.raises(StoreUnavailable):
                await store.get("clips/a")
            with pytest.raises(StoreUnavailable):
                await store.put("clips/a", endless_chunks())
            with pytest.raises(StoreUnavailable):
                await store.delete("clips/a")
            with pytest.raises(StoreUnavailable):
                await list_keys(settings, "clips")


@pytest.mark.parametrize(("key_id", "secret"), [("nobody", SECRET), (KEY_ID, "a-wrong-secret")])
async def test_wrong_credentials_are_reported_without_revealing_them(
    bucket_server: BucketServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key_id: str,
    secret: str,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    store = open_store(bucket_settings(bucket_server))

    with caplog.at_level(logging.INFO), pytest.raises(StoreUnavailable) as raised:
        await store.put("clips/a", iterate_chunks(b"clip"))

    (line,) = caplog.messages
    assert "refuses these credentials" in line
    for text in (line, raised.value.detail):
        assert secret not in text
        assert key_id not in text
    assert not await store.is_ready()


async def test_a_missing_bucket_is_not_a_missing_blob(bucket_server: BucketServer) -> None:
    settings = bucket_settings(bucket_server, store_url="s3://no-such-bucket")
    store = open_store(settings)

    with pytest.raises(StoreUnavailable):
        await store.get("clips/a")
    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", iterate_chunks(b"clip"))
    assert not await store.is_ready()


async def test_plain_http_is_used_only_where_it_is_allowed(bucket_server: BucketServer) -> None:
    store = open_store(bucket_settings(bucket_server, store_allow_http=False))

    with pytest.raises(StoreUnavailable):
        await store.put("clips/a", iterate_chunks(b"clip"))


async def test_virtual_hosted_addressing_puts_the_bucket_in_the_host(
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


async def test_a_slow_reader_gets_the_whole_blob(bucket_server: BucketServer) -> None:
    async def content() -> AsyncIterator[bytes]:
        for index in range(40):
            yield bytes([index]) * 2**20

    store = open_store(bucket_settings(bucket_server))
    await store.put("results/a", content())
    size, pause_until = 0, time.monotonic() + 3.0
    async for chunk in await store.get("results/a"):
        size += len(chunk)
        if time.monotonic() < pause_until:
            await asyncio.sleep(1.5)

    assert size == 40 * 2**20


async def test_a_clip_copy_is_unlinked_and_closed_with_its_context(
    bucket_server: BucketServer, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    store = open_store(bucket_settings(bucket_server, store_scratch_dir=scratch))
    await store.put("clips/a", iterate_chunks(b"clip"))

    async with store.open_file("clips/a") as path:
        assert await asyncio.to_thread(path.read_bytes) == b"clip"
        assert await asyncio.to_thread(lambda: list(scratch.iterdir())) == []

    assert not await asyncio.to_thread(path.exists)
