"""Uploads over REST: forms, raw bodies, limits, and clients that stall or disconnect."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.domain.ports import BlobStore
from service.gateway.context import GatewayContext
from service.gateway.rest.app import create_app
from service.jobs.record import JobState
from tests.integration.fakes import iterate_chunks, make_fake_analysis
from tests.integration.job_environment import JobEnvironment, eventually
from tests.integration.servers import serving

CLIP = bytes(range(256)) * 40


async def read_blob(store: BlobStore, key: str) -> bytes:
    return b"".join([chunk async for chunk in await store.get(key)])


async def post(address: str, **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        return await client.post("/v1/jobs", **request)


async def test_form_is_stored_and_queued(address: str, env: JobEnvironment) -> None:
    files = {"clip": ("../of/Ünïque clip.mp4", CLIP, "video/mp4")}

    answer = await post(address, files=files)

    assert answer.status_code == 202
    job = answer.json()
    assert f"/v1/jobs/{job['id']}" == answer.headers["location"]
    assert answer.headers["retry-after"] == "1"
    assert job["state"] == "queued"
    expected = {"filename": "Ünïque clip.mp4", "media_type": "video/mp4", "bytes": len(CLIP)}
    assert expected == job["clip"]
    assert await read_blob(env.store, f"clips/{job['id']}") == CLIP
    assert (await env.queue.measure_backlog()).depth == 1


FACES, STREAM = ("faces", (None, "all")), ("video_stream", (None, "3"))
CLIP_FILE = ("clip", ("a.mp4", CLIP))


@pytest.mark.parametrize("query", ["", "?faces=all&video_stream=3", "?faces=all"])
@pytest.mark.parametrize(
    "fields", [[FACES, STREAM, CLIP_FILE], [CLIP_FILE, STREAM, FACES], [FACES, CLIP_FILE, STREAM]]
)
async def test_options_in_the_form_are_those_of_the_query(
    address: str, query: str, fields: list[Any]
) -> None:
    key = {"Idempotency-Key": "one"}
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        answer = await client.post(f"/v1/jobs{query}", files=fields, headers=key)
        again = await client.post(
            "/v1/jobs?video_stream=3&faces=all", files=[CLIP_FILE], headers=key
        )

    assert answer.status_code == 202
    options = answer.json()["choices"]
    assert (options["faces"], options["video_stream"]) == ("all", 3)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json()["id"] == answer.json()["id"]


@pytest.mark.parametrize(
    ("query", "field", "named"),
    [
        ("", ("faces", (None, "every")), "form.faces"),
        ("", ("faces", (None, "")), "form.faces"),
        ("", ("video_stream", (None, "-1")), "form.video_stream"),
        ("", ("face", (None, "all")), "form.face"),
        ("", ("idempotency_key", (None, "x")), "form.idempotency_key"),
        ("", ("faces", ("faces.txt", b"all")), "form.faces"),
        ("?faces=primary", FACES, "form.faces"),
        ("?video_stream=0", STREAM, "form.video_stream"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["before", "behind"])
async def test_an_invalid_or_contradictory_option_in_the_form_is_refused(
    address: str, env: JobEnvironment, query: str, field: Any, named: str, is_first: bool
) -> None:
    fields = [field, CLIP_FILE] if is_first else [CLIP_FILE, field]
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        answer = await client.post(f"/v1/jobs{query}", files=fields)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert named in answer.json()["detail"]
    assert env.list_stored_files("clips") == []


@pytest.mark.parametrize("media_type", ["video/webm", "audio/wav", "application/octet-stream"])
async def test_raw_body_is_stored_and_queued(
    address: str, env: JobEnvironment, media_type: str
) -> None:
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": 'attachment; filename="face.webm"',
    }

    answer = await post(address, content=iterate_chunks(CLIP, CLIP), headers=headers)

    assert answer.status_code == 202
    job = answer.json()
    expected = {"filename": "face.webm", "media_type": media_type, "bytes": 2 * len(CLIP)}
    assert expected == job["clip"]
    assert await read_blob(env.store, f"clips/{job['id']}") == CLIP + CLIP


async def test_form_in_tiny_pieces_is_parsed(address: str, env: JobEnvironment) -> None:
    body = (
        b'--xx\r\nContent-Disposition: form-data; name="clip"; filename="a.mp4"\r\n\r\n'
        b"first\r\n--x\r\nlast\r\n--xx--\r\n"
    )

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 3):
            yield body[start : start + 3]
            await asyncio.sleep(0)

    headers = {"Content-Type": "multipart/form-data; boundary=xx"}
    answer = await post(address, content=pieces(), headers=headers)

    assert answer.status_code == 202
    stored = await read_blob(env.store, f"clips/{answer.json()['id']}")
    assert stored == b"first\r\n--x\r\nlast"


async def test_ten_posts_at_once_become_ten_jobs_with_results(
    address: str, env: JobEnvironment
) -> None:
    async with env.running_worker(make_fake_analysis(5)):
        answers = await asyncio.gather(
            *(post(address, files={"clip": CLIP + bytes([n])}) for n in range(10))
        )
        ids = [answer.json()["id"] for answer in answers]
        records = await asyncio.gather(*map(env.wait_for_end, ids))

    assert len(set(ids)) == 10
    assert {JobState.SUCCEEDED} == {record.state for record in records}
    for number, job_id in enumerate(ids):
        assert CLIP + bytes([number]) == await read_blob(env.store, f"clips/{job_id}")


async def test_burst_of_uploads_waits_for_redis_and_none_is_refused(
    address: str, env: JobEnvironment
) -> None:
    answers = await asyncio.gather(*(_post_raw(address) for _ in range(300)))

    assert {b"HTTP/1.1 202 Accepted"} == {answer.partition(b"\r\n")[0] for answer in answers}
    assert (await env.queue.measure_backlog()).depth == 300


async def _post_raw(address: str) -> bytes:
    """POST over a plain socket: an HTTP client would take more CPU time than the gateway."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
        f"Content-Type: video/mp4\r\nContent-Length: {len(CLIP)}\r\n\r\n"
    )
    writer.write(head.encode() + CLIP)
    answer = await reader.read()
    writer.close()
    return answer


async def test_declared_length_beyond_the_limit_is_refused_before_the_body(
    address: str, gateway: GatewayContext, env: JobEnvironment
) -> None:
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    length = gateway.settings.max_upload_bytes + 1
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: video/mp4\r\n"
        f"Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n".encode()
    )

    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()

    assert head.startswith(b"HTTP/1.1 413")
    assert json.loads(body)["code"] == "clip_too_large"
    assert env.list_stored_files("clips") == []


@pytest.mark.parametrize("as_form", [True, False])
async def test_oversized_upload_is_refused_while_it_is_sent(
    address: str, env: JobEnvironment, as_form: bool
) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        if as_form:
            yield b'--xx\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
        while sent < 2**23:
            sent += 2**16
            yield bytes(2**16)

    kind = "multipart/form-data; boundary=xx" if as_form else "video/mp4"
    answer = await post(address, content=endless(), headers={"Content-Type": kind})

    assert answer.status_code == 413
    assert answer.json()["code"] == "clip_too_large"
    assert env.list_stored_files("clips") == []


@pytest.mark.parametrize("as_form", [True, False])
async def test_disconnected_client_leaves_nothing(
    address: str, env: JobEnvironment, as_form: bool
) -> None:
    host, port = address.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    kind = "multipart/form-data; boundary=xx" if as_form else "video/mp4"
    part = 'Content-Disposition: form-data; name="clip"; filename="a"'
    head = f"--xx\r\n{part}\r\n\r\n".encode() if as_form else b""
    writer.write(
        f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
        "Content-Length: 900000\r\n\r\n".encode()
    )
    writer.write(head + bytes(500_000))
    await writer.drain()

    async def is_storing() -> bool | None:
        return bool(env.list_stored_files("clips")) or None

    await eventually(is_storing)
    writer.close()

    async def is_refused() -> bool | None:
        labels = {"method": "POST", "route": "/v1/jobs", "status": "408"}
        name = "circumplex_http_request_duration_seconds_count"
        return bool(env.metrics.registry.get_sample_value(name, labels)) or None

    await eventually(is_refused)
    assert env.list_stored_files("clips") == []
    assert (await env.queue.measure_backlog()).depth == 0


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"--xx\r\nContent-Disposition: form-data; na",
        b'--xx\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n' + CLIP,
    ],
)
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=xx", "video/mp4"])
async def test_stalled_upload_is_refused_and_leaves_nothing(
    gateway: GatewayContext, env: JobEnvironment, kind: str, sent: bytes
) -> None:
    settings = env.settings.model_copy(update={"upload_idle_seconds": 0.3})
    async with serving(create_app(dataclasses.replace(gateway, settings=settings))) as address:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            f"POST /v1/jobs HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\n"
            "Content-Length: 900000\r\n\r\n".encode()
            + sent
        )
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            problem = json.loads(await reader.readuntil(b"}"))
        writer.close()

    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    assert (problem["code"], problem["retryable"]) == ("upload_interrupted", True)
    assert env.list_stored_files("clips") == []


async def test_slow_but_steady_upload_is_accepted(
    gateway: GatewayContext, env: JobEnvironment
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        for _ in range(6):
            yield CLIP
            await asyncio.sleep(0.2)

    settings = env.settings.model_copy(update={"upload_idle_seconds": 1.0})
    async with serving(create_app(dataclasses.replace(gateway, settings=settings))) as address:
        answer = await post(address, content=slow(), headers={"Content-Type": "video/mp4"})

    assert answer.status_code == 202


async def test_truncated_form_leaves_nothing(address: str, env: JobEnvironment) -> None:
    body = b'--xx\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\nbytes'
    headers = {"Content-Type": "multipart/form-data; boundary=xx"}

    answer = await post(address, content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert env.list_stored_files("clips") == []


async def test_two_clips_in_one_form_are_refused(address: str, env: JobEnvironment) -> None:
    answer = await post(address, files=[("clip", CLIP), ("clip", CLIP)])

    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert env.list_stored_files("clips") == []
