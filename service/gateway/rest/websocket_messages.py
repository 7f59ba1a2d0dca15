"""Messages of a stream over a WebSocket: JSON texts, and media as binary messages.

Texts are protobuf's JSON mapping with the field names of the .proto: every field of a scalar is
present, 64-bit integers are strings, unset messages are left out. A binary message is one piece of
media:

    kind      1 byte    1: container bytes, 2: a frame, 3: audio
    seconds   8 bytes   of a frame and of audio: its time; float64, little-endian; NaN: audio that
                        follows the audio before
    data      the rest
"""

from __future__ import annotations

import json
import struct
import time
from math import isfinite, isnan
from typing import Any, Final

from circumplex.v1.annotation_pb2 import StreamingAnnotateRequest
from google.protobuf import json_format

from service.domain.stream import StreamAudio, StreamBytes, StreamFrame, StreamInput
from service.errors import CircumplexError, RequestInvalid, StreamOutOfOrder
from service.gateway.stream_messages import event_to_proto, parse_request
from service.streaming.config import StreamRequest
from service.streaming.events import StreamEvent
from service.telemetry.logs import TRACE_ID

CONTAINER_KIND: Final = 1
FRAME_KIND: Final = 2
AUDIO_KIND: Final = 3
"""First byte of a binary message."""
MEDIA_HEADER: Final = struct.Struct("<Bd")
"""Header of a frame and of audio."""
MAX_TEXT_LENGTH: Final = 2**16
MAX_DETAIL_LENGTH: Final = 300
END_MESSAGE: Final[dict[str, dict[str, object]]] = {"end": {}}
"""End of the media; a gRPC call is half-closed instead."""


def parse_text_message(text: str) -> StreamRequest | None:
    """Parse a text message: a config, or None for the end of the media.

    Raises: RequestInvalid, StreamOutOfOrder.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise RequestInvalid(f"a text message has at most {MAX_TEXT_LENGTH} letters")
    try:
        payload: Any = json.loads(text)
        if payload == END_MESSAGE:
            return None
        request = json_format.ParseDict(payload, StreamingAnnotateRequest())
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:MAX_DETAIL_LENGTH]
        raise RequestInvalid(f"a text message cannot be read: {reason}") from error
    if request.WhichOneof("message") != "config":
        raise StreamOutOfOrder('a text message is {"config": {...}} or {"end": {}}')
    return parse_request(request)


def parse_media_message(data: bytes) -> StreamInput:
    """Parse a binary message. Raises: RequestInvalid."""
    kind = data[0] if data else None
    if kind == CONTAINER_KIND:
        return StreamBytes(data=data[1:], arrived_at=time.monotonic())
    if kind not in (FRAME_KIND, AUDIO_KIND) or len(data) < MEDIA_HEADER.size:
        raise RequestInvalid("a binary message is a byte 1, 2 or 3, a time for 2 and 3, and data")
    seconds = MEDIA_HEADER.unpack_from(data)[1]
    content = data[MEDIA_HEADER.size :]
    if not (isfinite(seconds) or (kind == AUDIO_KIND and isnan(seconds))):
        raise RequestInvalid(f"{seconds} s is no time")
    if kind == FRAME_KIND:
        return StreamFrame(time_seconds=seconds, data=content, arrived_at=time.monotonic())
    return StreamAudio(data=content, time_seconds=None if isnan(seconds) else seconds)


def encode_event(event: StreamEvent) -> str:
    """Return the text message of an event."""
    return json_format.MessageToJson(
        event_to_proto(event),
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
    )


def encode_error(error: CircumplexError) -> str:
    """Return the text message of an error, the last one of its stream."""
    payload = {
        "code": error.code,
        "title": error.title(),
        "detail": error.detail,
        "retryable": error.retryable,
        "retry_seconds": error.retry_seconds,
        "trace_id": TRACE_ID.get(),
    }
    return json.dumps({"error": payload})
