"""Incremental parser of the form of an upload: one file field `clip`, and options as text fields.

What a form may hold beside the clip is bounded as a whole, by the bytes and by the parts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from dataclasses import dataclass
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import ClipFieldMissing, FormTooLarge, RequestInvalid

FORM_MEDIA_TYPE: Final = "multipart/form-data"
CLIP_FIELD: Final = "clip"
MAX_FORM_BYTES: Final = 2**16
"""Bytes of a form beside its clip: boundaries, headers, options, and what is outside the parts."""
MAX_FORM_PARTS: Final = 32
PLAIN_CODINGS: Final = frozenset({b"binary", b"8bit", b"7bit"})
"""Values of Content-Transfer-Encoding that leave a part as it is (RFC 7578 deprecates all)."""
MAX_LISTED_LENGTH: Final = 64
"""Letters of a field's name in an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipPart:
    """Name and media type of the form's clip, as the client states them."""

    filename: str
    media_type: str


class MultipartClipReader:
    """Incremental parser of a form: chunks of the body in, bytes of the file field `clip` out.

    `options` holds the text fields read so far, by their names, which are among `option_names`.
    """

    def __init__(self, boundary: bytes, option_names: Collection[str]) -> None:
        self.clip: ClipPart | None = None
        self._option_names = option_names
        self._options: dict[str, bytearray] = {}
        self._unknown_fields: list[str] = []
        self._target: bytearray | None = None
        self._clip_chunk = bytearray()
        self._form_bytes = 0
        self._part_count = 0
        self._is_closed = False
        self._name = bytearray()
        self._value = bytearray()
        self._headers: dict[str, bytes] = {}
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
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

    @property
    def options(self) -> dict[str, str]:
        """The options read so far. Raises: RequestInvalid: one is not UTF-8."""
        try:
            return {name: value.decode() for name, value in self._options.items()}
        except UnicodeDecodeError as error:
            raise RequestInvalid("an option of the form is not UTF-8") from error

    async def find_clip(self, body: AsyncIterator[bytes]) -> ClipPart:
        """Read up to the clip's first bytes.

        Raises: ClipFieldMissing, FormTooLarge, RequestInvalid.
        """
        async for chunk in body:
            self._feed(chunk)
            if self.clip is not None:
                return self.clip
        raise _clip_missing_error([*self._options, *self._unknown_fields])

    async def iter_clip(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The clip's bytes, to the end of the body.

        Raises: FormTooLarge, RequestInvalid: a truncated form, or an unknown field.
        """
        yield self._take_chunk()
        async for chunk in body:
            self._feed(chunk)
            yield self._take_chunk()
        if not self._is_closed:
            raise RequestInvalid("the form ends before its closing boundary")

    def _feed(self, chunk: bytes) -> None:
        clip_bytes = len(self._clip_chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise RequestInvalid(f"the form cannot be read: {error}") from error
        self._form_bytes += len(chunk) - (len(self._clip_chunk) - clip_bytes)
        if self._form_bytes > MAX_FORM_BYTES:
            raise FormTooLarge(f"a form has at most {MAX_FORM_BYTES} bytes beside the clip")

    def _take_chunk(self) -> bytes:
        data = bytes(self._clip_chunk)
        self._clip_chunk.clear()
        return data

    def _begin_part(self) -> None:
        self._headers.clear()
        self._part_count += 1
        if self._part_count > MAX_FORM_PARTS:
            raise FormTooLarge(f"a form has at most {MAX_FORM_PARTS} parts")

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
        coding = self._headers.get("content-transfer-encoding", b"binary").strip().lower()
        if coding not in PLAIN_CODINGS:
            raise RequestInvalid("a part of the form has a Content-Transfer-Encoding: send bytes")
        if b"name" not in options:
            raise RequestInvalid("a part of the form has no name")
        name = options[b"name"].decode(errors="replace")
        filename = options.get(b"filename")
        if name == CLIP_FIELD:
            self._begin_clip(filename)
        elif name in self._option_names and filename is None:
            self._begin_option(name)
        else:
            self._begin_unknown(name, is_file=filename is not None)

    def _begin_clip(self, filename: bytes | None) -> None:
        if filename is None:
            raise ClipFieldMissing("the form's field 'clip' is text; it has to be a file")
        if self.clip is not None:
            raise RequestInvalid("the form has more than one clip; send one job for each")
        if self._unknown_fields:
            raise self._unknown_field_error(self._unknown_fields[0])
        media_type, _ = parse_options_header(self._headers.get("content-type", b""))
        self.clip = ClipPart(
            filename=filename.decode(errors="replace"), media_type=media_type.decode("latin-1")
        )
        self._target = self._clip_chunk

    def _begin_option(self, name: str) -> None:
        if name in self._options:
            raise RequestInvalid(f"the form has more than one field {name!r}")
        self._target = self._options[name] = bytearray()

    def _begin_unknown(self, name: str, *, is_file: bool) -> None:
        if name in self._option_names:
            raise RequestInvalid(f"form.{name}: is a file; options are text fields")
        if self.clip is not None:
            raise self._unknown_field_error(name)
        self._unknown_fields.append(name)
        if is_file:
            raise _clip_missing_error([*self._options, *self._unknown_fields])
        self._target = None

    def _unknown_field_error(self, name: str) -> RequestInvalid:
        return RequestInvalid(
            f"form.{name[:MAX_LISTED_LENGTH]}: unknown field; a form has the file 'clip' and, if "
            f"need be, {', '.join(self._option_names)}"
        )

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target += data[start:end]

    def _close(self) -> None:
        self._is_closed = True


def _clip_missing_error(fields: list[str]) -> ClipFieldMissing:
    listed = ", ".join(repr(name[:MAX_LISTED_LENGTH]) for name in fields) or "no field at all"
    return ClipFieldMissing(f"the form needs a file field named 'clip'; it has {listed}")
