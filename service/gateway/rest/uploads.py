"""The clip of an HTTP request: the file field of a multipart form, or the body itself.

A form is parsed as it arrives and never buffered as a whole.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from service.errors import (
    ClipFieldMissing,
    MediaTypeUnsupported,
    RequestInvalid,
    UploadInterrupted,
)
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
"""Allowance for the form's own bytes when Content-Length is compared with the size limit."""
CLIP_FIELD: Final = "clip"
MAX_LISTED_FIELDS: Final = 20
MAX_FIELD_NAME_LENGTH: Final = 64


async def open_upload(request: Request, max_bytes: int) -> Upload:
    """Find the clip in a request, and refuse what the headers alone disqualify.

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
            f"this is {media_type[:MAX_MEDIA_TYPE_LENGTH] or 'without a Content-Type'}"
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
        raise RequestInvalid("the form's Content-Type has no boundary")
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
    """The Content-Length of a request; 0 if there is none."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPart:
    """Name and media type of the form's clip, as the client states them."""

    filename: str
    media_type: str


class MultipartClipReader:
    """Incremental parser of a form: chunks of the body in, bytes of the file field `clip` out."""

    def __init__(self, boundary: bytes) -> None:
        self.clip: ClipPart | None = None
        self._fields: list[str] = []
        self._in_clip = False
        self._is_closed = False
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[str, bytes] = {}
        self._clip_chunks: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._headers.clear,
                    "on_header_field": self._read_name,
                    "on_header_value": self._read_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": self._read_data,
                    "on_end": self._close,
                },
            )
        except FormParserError as error:
            raise RequestInvalid("the form's boundary is invalid") from error

    async def find_clip(self, body: AsyncIterator[bytes]) -> ClipPart:
        """Read up to the clip's first bytes; raises ClipFieldMissing with the fields found."""
        async for chunk in body:
            self._feed(chunk)
            if self.clip is not None:
                return self.clip
        listed = ", ".join(repr(name) for name in self._fields) or "no field at all"
        raise ClipFieldMissing(f"the form needs a file field named 'clip'; it has {listed}")

    async def iter_clip(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The clip's bytes, to the end of the body; raises RequestInvalid for a truncated form."""
        yield self._take_chunks()
        async for chunk in body:
            self._feed(chunk)
            yield self._take_chunks()
        if not self._is_closed:
            raise RequestInvalid("the form ends before its closing boundary")

    def _feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestInvalid(f"the form cannot be read: {error}") from error

    def _take_chunks(self) -> bytes:
        data = b"".join(self._clip_chunks)
        self._clip_chunks.clear()
        return data

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode(errors="replace")
        filename = options.get(b"filename")
        self._in_clip = name == CLIP_FIELD and filename is not None
        if self._in_clip and self.clip is not None:
            raise RequestInvalid("the form has more than one clip; send one job for each")
        if self._in_clip and filename is not None:
            media_type, _ = parse_options_header(self._headers.get("content-type", b""))
            self.clip = ClipPart(
                filename=filename.decode(errors="replace"),
                media_type=media_type.decode("latin-1"),
            )
        elif len(self._fields) < MAX_LISTED_FIELDS:
            kind = " (text, not a file)" if name == CLIP_FIELD else ""
            self._fields.append(name[:MAX_FIELD_NAME_LENGTH] + kind)

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_clip:
            self._clip_chunks.append(data[start:end])

    def _close(self) -> None:
        self._is_closed = True
