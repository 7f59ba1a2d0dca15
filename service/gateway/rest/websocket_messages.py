"""Messages of a stream as a WebSocket carries them: JSON, and media as bytes.

Text is protobuf's JSON mapping with the names of the .proto. Every field of a plain value is there,
whatever it is; 64-bit numbers are strings; what is left out is not known. A binary message is one
piece of media:

    kind      1 byte    1: of a container, 2: a frame, 3: sound
    seconds   8 bytes   of a frame and of sound: when; float64, little-endian; NaN: follows on
    data      the rest
"""

from __future__ import annotations

import json
import struct
from math import isfinite, isnan
from typing import Any, Final

from circumplex.v1 import annotation_pb2
from google.protobuf import json_format

from service.errors import CircumplexError, RequestInvalid, StreamOutOfOrder
from service.telemetry.logs import TRACE_ID

Request = annotation_pb2.StreamingAnnotateRequest
Response = annotation_pb2.StreamingAnnotateResponse

CONTAINER_KIND: Final = 1
FRAME_KIND: Final = 2
AUDIO_KIND: Final = 3
MEDIA_HEADER: Final = struct.Struct("<Bd")
"""Of a frame and of sound: what comes before the data."""
MAX_TEXT_LENGTH: Final = 2**16
MAX_DETAIL_LENGTH: Final = 300
END_MESSAGE: Final = {"end": {}}
"""The media have ended: what half-closing a call says."""


def parse_text_message(text: str) -> Request | None:
    """What a client says: how it will stream; None: that the media have ended.

    Raises: RequestInvalid, StreamOutOfOrder.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise RequestInvalid(f"a text message has at most {MAX_TEXT_LENGTH} letters")
    try:
        payload: Any = json.loads(text)
        if payload == END_MESSAGE:
            return None
        request = json_format.ParseDict(payload, Request())
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:MAX_DETAIL_LENGTH]
        raise RequestInvalid(f"a text message cannot be read: {reason}") from error
    if request.WhichOneof("message") != "config":
        raise StreamOutOfOrder('a text message is {"config": {...}} or {"end": {}}')
    return request


def parse_media_message(data: bytes) -> Request:
    """A piece of media. Raises: RequestInvalid."""
    kind = data[0] if data else None
    if kind == CONTAINER_KIND:
        return Request(container=annotation_pb2.ContainerChunk(data=data[1:]))
    if kind not in (FRAME_KIND, AUDIO_KIND) or len(data) < MEDIA_HEADER.size:
        raise RequestInvalid("a binary message is a byte 1, 2 or 3, a time for 2 and 3, and data")
    seconds = MEDIA_HEADER.unpack_from(data)[1]
    content = data[MEDIA_HEADER.size :]
    if not (isfinite(seconds) or (kind == AUDIO_KIND and isnan(seconds))):
        raise RequestInvalid(f"{seconds} s is no time")
    if kind == FRAME_KIND:
        return Request(frame=annotation_pb2.VideoFrame(time_seconds=seconds, data=content))
    time_seconds = None if isnan(seconds) else seconds
    return Request(audio=annotation_pb2.AudioChunk(data=content, time_seconds=time_seconds))


def encode_response(response: Response) -> str:
    """One response as the client reads it."""
    return json_format.MessageToJson(
        response,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    )


def encode_error(error: CircumplexError) -> str:
    """The last message of a stream that comes to a bad end."""
    payload = {
        "code": error.code,
        "title": error.title(),
        "detail": error.detail,
        "retryable": error.retryable,
        "retry_seconds": error.retry_seconds,
        "trace_id": TRACE_ID.get(),
    }
    return json.dumps({"error": payload})
