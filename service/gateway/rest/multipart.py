"""The multipart form of an upload, parsed as it arrives and never held."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import ClipFieldMissing, RequestInvalid

CLIP_FIELD: Final = "clip"
MAX_LISTED_FIELDS: Final = 20
MAX_FIELD_NAME_LENGTH: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPart:
    """The head of the form's clip: what the client says of it."""

    filename: str
    media_type: str


class MultipartClipReader:
    """Feeds on the body's chunks and gives out the bytes of its file field `clip`."""

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
            raise RequestInvalid("the form's boundary cannot be used") from error

    async def find_clip(self, body: AsyncIterator[bytes]) -> ClipPart:
        """Read up to the clip's first bytes; raises ClipFieldMissing with what was there."""
        async for chunk in body:
            self._feed(chunk)
            if self.clip is not None:
                return self.clip
        listed = ", ".join(repr(name) for name in self._fields) or "no field at all"
        raise ClipFieldMissing(f"the form needs a file field named 'clip'; it has {listed}")

    async def iter_clip(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The clip's bytes, to the end of the body; raises RequestInvalid for a form cut short."""
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
