"""The clip of an HTTP request: the file field of a multipart form, or the body itself.

A form is parsed as it arrives and never buffered as a whole. Its text fields are options, like the
parameters of the query.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from fastapi import Request
from pydantic import ValidationError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from service.domain.options import SubmissionOptions
from service.errors import (
    MediaTypeUnsupported,
    RequestInvalid,
    UploadInterrupted,
)
from service.gateway.rest.multipart import FORM_MEDIA_TYPE, MAX_FORM_BYTES, MultipartClipReader
from service.gateway.rest.schemas import SubmissionQuery
from service.gateway.use_cases.uploads import (
    MAX_MEDIA_TYPE_LENGTH,
    OCTET_STREAM,
    Upload,
    clip_too_large_error,
    is_clip_media_type,
    limit_size,
    sanitize_filename,
)


async def open_upload(request: Request, query: SubmissionQuery, max_bytes: int) -> Upload:
    """Find the clip in a request, and refuse what the headers alone disqualify.

    Raises: MediaTypeUnsupported, ClipFieldMissing, FormTooLarge, RequestInvalid,
        ClipTooLarge (by its Content-Length), UploadInterrupted (in a form, before the clip).
    """
    body = _read_body(request)
    _refuse_encoding(request)
    kind, options = parse_options_header(request.headers.get("content-type"))
    media_type = kind.decode("latin-1").lower()
    if media_type == FORM_MEDIA_TYPE:
        _refuse_length(request, max_bytes, margin_bytes=MAX_FORM_BYTES)
        return await _open_form(body, options.get(b"boundary"), query, max_bytes)
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


async def _open_form(
    body: AsyncIterator[bytes], boundary: bytes | None, query: SubmissionQuery, max_bytes: int
) -> Upload:
    if not boundary:
        raise RequestInvalid("the form's Content-Type has no boundary")
    form = MultipartClipReader(boundary, option_names=tuple(SubmissionQuery.model_fields))
    clip = await form.find_clip(body)
    merge_options(query, form.options)
    return Upload(
        filename=sanitize_filename(clip.filename),
        media_type=clip.media_type[:MAX_MEDIA_TYPE_LENGTH] or OCTET_STREAM,
        content=limit_size(_read_form(form, body, query), max_bytes),
        read_options=lambda: merge_options(query, form.options),
    )


async def _read_form(
    form: MultipartClipReader, body: AsyncIterator[bytes], query: SubmissionQuery
) -> AsyncGenerator[bytes]:
    """The clip's bytes; the options behind the clip are checked before the last ones end."""
    async for chunk in form.iter_clip(body):
        yield chunk
    merge_options(query, form.options)


def merge_options(query: SubmissionQuery, fields: dict[str, str]) -> SubmissionOptions:
    """The options of a submission, from its query and the text fields of its form.

    Raises: RequestInvalid: a value is invalid, or the query has another one.
    """
    try:
        form = SubmissionQuery.model_validate(fields)
    except ValidationError as error:
        found = error.errors()
        detail = "; ".join(
            f"form.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found
        )
        raise RequestInvalid(detail) from error
    stated = {name: getattr(form, name) for name in form.model_fields_set}
    for name in stated.keys() & query.model_fields_set:
        if getattr(query, name) != stated[name]:
            raise RequestInvalid(f"form.{name}: the query has another value")
    return query.model_copy(update=stated).options


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
