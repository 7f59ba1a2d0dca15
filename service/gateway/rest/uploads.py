"""A request's clip as a stream of bytes, whichever way the client sends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from service.errors import (
    MediaTypeUnsupported,
    RequestInvalid,
    UploadInterrupted,
)
from service.gateway.rest.multipart import MultipartClipReader
from service.gateway.use_cases.uploads import (
    MAX_MEDIA_TYPE_LENGTH,
    OCTET_STREAM,
    Upload,
    clip_too_large_error,
    is_clip_media_type,
    limit_size,
    sanitize_filename,
)

FORM_MEDIA_TYPE: Final = "multipart/form-data"
FORM_MARGIN_BYTES: Final = 2**16
"""What a form may weigh beside its clip before its length alone refuses it."""


async def open_upload(request: Request, max_bytes: int) -> Upload:
    """Find the clip in a request and refuse what can be refused before it is read.

    Raises: MediaTypeUnsupported, ClipFieldMissing, RequestInvalid,
        ClipTooLarge (by its Content-Length), UploadInterrupted (in a form, before the clip).
    """
    body = _read_body(request)
    _refuse_encoding(request)
    kind, options = parse_options_header(request.headers.get("content-type"))
    media_type = kind.decode("latin-1").lower()
    if media_type == FORM_MEDIA_TYPE:
        _refuse_length(request, max_bytes, margin_bytes=FORM_MARGIN_BYTES)
        return await _open_form(body, options.get(b"boundary"), max_bytes)
    if not is_clip_media_type(media_type):
        raise MediaTypeUnsupported(
            f"send {FORM_MEDIA_TYPE} with a file field 'clip', or the clip itself as video/*, "
            f"audio/* or {OCTET_STREAM}; "
            f"this is {media_type[:MAX_MEDIA_TYPE_LENGTH] or 'of no stated type'}"
        )
    _refuse_length(request, max_bytes, margin_bytes=0)
    _, disposition = parse_options_header(request.headers.get("content-disposition"))
    return Upload(
        filename=sanitize_filename(disposition.get(b"filename", b"").decode(errors="replace")),
        media_type=media_type[:MAX_MEDIA_TYPE_LENGTH],
        content=limit_size(body, max_bytes),
    )


async def _open_form(body: AsyncIterator[bytes], boundary: bytes | None, max_bytes: int) -> Upload:
    if not boundary:
        raise RequestInvalid("the form's content type names no boundary")
    form = MultipartClipReader(boundary)
    clip = await form.find_clip(body)
    return Upload(
        filename=sanitize_filename(clip.filename),
        media_type=clip.media_type[:MAX_MEDIA_TYPE_LENGTH] or OCTET_STREAM,
        content=limit_size(form.iter_clip(body), max_bytes),
    )


def _refuse_encoding(request: Request) -> None:
    encodings = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    if encodings not in ("", "identity"):
        raise MediaTypeUnsupported(
            f"send the clip without Content-Encoding; this is {encodings[:MAX_MEDIA_TYPE_LENGTH]!r}"
        )


def _refuse_length(request: Request, max_bytes: int, margin_bytes: int) -> None:
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes + margin_bytes:
        raise clip_too_large_error(max_bytes)


async def _read_body(request: Request) -> AsyncGenerator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise UploadInterrupted from error


def declared_bytes(request: Request) -> int:
    """What a request says to bring, as far as it says so."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0
