from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.api.form import ClipForm
from service.errors import ClipFieldMissing, RequestInvalid

CLIP = bytes(range(256)) + b"\r\n--b\r\n--boundar"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--boundary\r\nContent-Disposition: form-data; name="{name}"{file}\r\n'
    return head.encode() + b"Content-Type: video/mp4\r\n\r\n" + content + b"\r\n"


async def cut(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
async def test_the_clip_comes_out_whole_however_the_body_is_cut(size: int) -> None:
    body = part("note", b"before") + part("clip", CLIP, "a.mp4") + part("note", b"after")
    form, chunks = ClipForm(b"boundary"), cut(body + b"--boundary--\r\n", size)

    clip = await form.find_clip(chunks)
    content = b"".join([piece async for piece in form.rest(chunks)])

    assert (clip.filename, clip.media_type) == ("a.mp4", "video/mp4")
    assert content == CLIP


@pytest.mark.parametrize("size", [5, 10_000])
async def test_a_form_without_its_end_is_invalid(size: int) -> None:
    form, chunks = ClipForm(b"boundary"), cut(part("clip", CLIP, "a.mp4"), size)
    await form.find_clip(chunks)

    with pytest.raises(RequestInvalid, match="closing boundary"):
        _ = [piece async for piece in form.rest(chunks)]


async def test_what_a_form_without_clip_has_is_told_in_bounds() -> None:
    body = b"".join(part(f"{n}" + 200 * "x", b"") for n in range(50)) + b"--boundary--\r\n"

    with pytest.raises(ClipFieldMissing) as raised:
        await ClipForm(b"boundary").find_clip(cut(body, 1000))

    assert len(raised.value.detail) < 2000


@pytest.mark.parametrize("body", [b"not a form", b"--other\r\n\r\n--other--"])
async def test_what_is_no_form_is_invalid(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        await ClipForm(b"boundary").find_clip(cut(body, 4))


async def test_a_boundary_beyond_all_measure_is_invalid() -> None:
    with pytest.raises(RequestInvalid):
        ClipForm(b"b" * 10_000)
