"""Incremental parsing of the multipart form of an upload."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.errors import ClipFieldMissing, RequestInvalid
from service.gateway.rest.multipart import MultipartClipReader

CLIP = bytes(range(256)) + b"\r\n--b\r\n--boundar"


def make_part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--boundary\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'
    return head.encode() + b"Content-Type: video/mp4\r\n\r\n" + content + b"\r\n"


async def split_body(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_clip_is_read_whole_for_any_chunking(size: int) -> None:
    body = (
        make_part("note", b"before")
        + make_part("clip", CLIP, "a.mp4")
        + make_part("note", b"after")
    )
    form, chunks = MultipartClipReader(b"boundary"), split_body(body + b"--boundary--\r\n", size)

    clip = await form.find_clip(chunks)
    content = b"".join([piece async for piece in form.iter_clip(chunks)])

    assert (clip.filename, clip.media_type) == ("a.mp4", "video/mp4")
    assert content == CLIP


@pytest.mark.parametrize("size", [5, 10_000])
async def test_form_without_closing_boundary_is_invalid(size: int) -> None:
    form, chunks = (
        MultipartClipReader(b"boundary"),
        split_body(make_part("clip", CLIP, "a.mp4"), size),
    )
    await form.find_clip(chunks)

    with pytest.raises(RequestInvalid, match="closing boundary"):
        _ = [piece async for piece in form.iter_clip(chunks)]


async def test_missing_clip_error_detail_is_bounded() -> None:
    body = b"".join(make_part(f"{n}" + 200 * "x", b"") for n in range(50)) + b"--boundary--\r\n"

    with pytest.raises(ClipFieldMissing) as raised:
        await MultipartClipReader(b"boundary").find_clip(split_body(body, 1000))

    assert len(raised.value.detail) < 2000


@pytest.mark.parametrize("body", [b"not a form", b"--other\r\n\r\n--other--"])
async def test_malformed_form_is_invalid(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        await MultipartClipReader(b"boundary").find_clip(split_body(body, 4))


async def test_overlong_boundary_is_invalid() -> None:
    with pytest.raises(RequestInvalid):
        MultipartClipReader(b"b" * 10_000)
