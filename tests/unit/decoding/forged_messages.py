"""Messages of a decode process, valid and forged: encoding to bytes and reading back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from service.decoding.protocol.messages import (
    MESSAGE_TYPES,
    PREFIX,
    ExtractionFailed,
    WorkerMessage,
    decode_message,
    encode_message,
    read_prefix,
)
from service.serialization import encode

MAX_FRAMES = 32

MessageType = type[WorkerMessage | ExtractionFailed]


def read_bytes(content: bytes) -> WorkerMessage:
    """Read one message as the parent does."""
    prefix = read_prefix(content[: PREFIX.size], max_frames=MAX_FRAMES)
    assert prefix.length == len(content) - PREFIX.size
    return decode_message(prefix, content[PREFIX.size :], max_frames=MAX_FRAMES)


def round_trip(message: WorkerMessage) -> WorkerMessage:
    """Send a message and read it."""
    return read_bytes(b"".join(encode_message(message)))


def to_fields(message: WorkerMessage) -> dict[str, Any]:
    """Return the fields of a message, nested dataclasses as dicts."""
    return asdict(message)


def read_fields(kind: MessageType, fields: Mapping[str, Any]) -> WorkerMessage:
    """Read a message of this kind with these fields, whatever they are."""
    return read_content(kind, encode(fields))


def read_content(kind: MessageType, content: bytes) -> WorkerMessage:
    """Read a message of this kind with this content."""
    return read_bytes(PREFIX.pack(MESSAGE_TYPES.index(kind), len(content)) + content)
