"""Incremental parsing of the multipart form of an upload."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.errors import CircumplexError, ClipFieldMissing, FormTooLarge, RequestInvalid
from service.gateway.rest.multipart import MAX_FORM_BYTES, MAX_FORM_PARTS, MultipartClipReader

CLIP = bytes(range(256)) + b"\r\n--b\r\n--boundar"
CLIP_PART_HEAD = b'--boundary\r\nContent-Disposition: form-data; name="clip"; filename="a"\r\n\r\n'
END = b"--boundary--\r\n"


def make_reader(boundary: bytes = b"boundary") -> MultipartClipReader:
    return MultipartClipReader(boundary, option_names=("faces", "priority"))


async def read_form(body: bytes, size: int) -> int:
    """Read a whole form, sent in chunks of `size` bytes; returns the clip's bytes."""
    form, chunks = make_reader(), split_body(body, size)
    await form.find_clip(chunks)
    return sum([len(piece) async for piece in form.iter_clip(chunks)])


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
        make_part("faces", b"before")
        + make_part("clip", CLIP, "a.mp4")
        + make_part("priority", b"after")
    )
    form, chunks = make_reader(), split_body(body + b"--boundary--\r\n", size)

    clip = await form.find_clip(chunks)
    content = b"".join([piece async for piece in form.iter_clip(chunks)])

    assert (clip.filename, clip.media_type) == ("a.mp4", "video/mp4")
    assert content == CLIP
    assert form.options == {"faces": "before", "priority": "after"}


@pytest.mark.parametrize("size", [5, 10_000])
async def test_form_without_closing_boundary_is_invalid(size: int) -> None:
    form, chunks = (
        make_reader(),
        split_body(make_part("clip", CLIP, "a.mp4"), size),
    )
    await form.find_clip(chunks)

    with pytest.raises(RequestInvalid, match="closing boundary"):
        _ = [piece async for piece in form.iter_clip(chunks)]


async def test_missing_clip_error_detail_is_bounded() -> None:
    body = b"".join(make_part(f"{n}" + 200 * "x", b"") for n in range(30)) + END

    with pytest.raises(ClipFieldMissing) as raised:
        await make_reader().find_clip(split_body(body, 1000))

    assert len(raised.value.detail) < 3000


CLIP_PART = make_part("clip", CLIP, "a.mp4")
TOO_LONG = b"x" * (MAX_FORM_BYTES + 1)
REFUSED_FORMS: dict[str, tuple[bytes, type[CircumplexError]]] = {
    "many empty parts": (make_part("faces", b"") * 2, RequestInvalid),
    "many unknown parts": (make_part("x", b"") * (MAX_FORM_PARTS + 1), FormTooLarge),
    "an unnamed part": (b"--boundary\r\n\r\n\r\n" + CLIP_PART + END, RequestInvalid),
    "a long option": (make_part("faces", TOO_LONG) + CLIP_PART + END, FormTooLarge),
    "a long option behind": (CLIP_PART + make_part("faces", TOO_LONG) + END, FormTooLarge),
    "a long unknown field": (make_part("note", TOO_LONG), FormTooLarge),
    "a long preamble": (b"\r\n" * MAX_FORM_BYTES + CLIP_PART + END, FormTooLarge),
    "a long epilogue": (CLIP_PART + END + TOO_LONG, FormTooLarge),
    "a long header": (b"--boundary\r\nX: " + TOO_LONG, RequestInvalid),
    "a long header name": (b"--boundary\r\n" + TOO_LONG, RequestInvalid),
    "many headers": (b"--boundary\r\n" + b"X: y\r\n" * 100, RequestInvalid),
    "a long padding": (b"--boundary" + b" " * MAX_FORM_BYTES + b"\r\n", RequestInvalid),
    "an unknown field": (make_part("note", b"") + CLIP_PART + END, RequestInvalid),
    "an unknown field behind": (CLIP_PART + make_part("note", b"") + END, RequestInvalid),
    "an unknown file behind": (CLIP_PART + make_part("x", b"", "x") + END, RequestInvalid),
    "an option as a file": (CLIP_PART + make_part("faces", b"all", "x") + END, RequestInvalid),
    "an option twice": (
        make_part("faces", b"all") + CLIP_PART + make_part("faces", b"all") + END,
        RequestInvalid,
    ),
    "two clips": (CLIP_PART + CLIP_PART + END, RequestInvalid),
    "text instead of a clip": (make_part("clip", CLIP) + END, ClipFieldMissing),
    "a file of another name": (make_part("file", TOO_LONG * 2, "a.mp4") + END, ClipFieldMissing),
    "no clip": (make_part("faces", b"all") + END, ClipFieldMissing),
    "no part": (END, ClipFieldMissing),
}


@pytest.mark.parametrize("size", [61, 100_000])
@pytest.mark.parametrize("name", REFUSED_FORMS)
async def test_what_a_form_may_hold_beside_its_clip_is_bounded(name: str, size: int) -> None:
    body, error = REFUSED_FORMS[name]

    with pytest.raises(error):
        await read_form(body, size)


async def test_a_clip_may_be_longer_than_the_form_and_look_like_boundaries() -> None:
    clip = b"\r\n--boundar" * 20_000

    assert await read_form(CLIP_PART_HEAD + clip + b"\r\n" + END, 4096) == len(clip)


async def test_an_option_that_is_not_utf8_is_invalid() -> None:
    form, chunks = make_reader(), split_body(make_part("faces", b"\xff") + CLIP_PART, 4096)
    await form.find_clip(chunks)

    with pytest.raises(RequestInvalid, match="UTF-8"):
        _ = form.options


@pytest.mark.parametrize("body", [b"not a form", b"--other\r\n\r\n--other--"])
async def test_malformed_form_is_invalid(body: bytes) -> None:
    with pytest.raises(RequestInvalid):
        await make_reader().find_clip(split_body(body, 4))


async def test_overlong_boundary_is_invalid() -> None:
    with pytest.raises(RequestInvalid):
        make_reader(b"b" * 10_000)
