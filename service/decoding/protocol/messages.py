"""Messages of a decode process to its parent, for clips and streams.

    kind u8 │ length u32 │ msgpack of the kind's dataclass

The decode process parses untrusted media, so its messages are untrusted: the length is checked
before the content is read; element types, shapes and values are checked before use. Pickle is
never used.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from service.decoding.protocol.validation import (
    MAX_SAMPLES_PER_FRAME,
    MAX_TEXT_CHARS,
    check_audio,
    check_count,
    check_crops,
    check_durations,
    check_frames,
    check_record,
    check_stages,
)
from service.domain.clip import EXTRACTION_STAGES, MAX_FACES, Chunk, ClipClosed, ClipOpened
from service.domain.model_signatures import CROP_BYTES
from service.domain.stream import (
    MAX_SNAPSHOT_BYTES,
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
)
from service.errors import (
    CircumplexError,
    ClipError,
    DecoderCrashed,
    FaceModelsMissing,
    error_from_code,
)
from service.serialization import decode, encode

PREFIX: Final = struct.Struct("<BI")
MAX_STATE_BYTES: Final = MAX_SNAPSHOT_BYTES - 256
"""Limit of a snapshot's state before the parent adds its counts to it."""
_MAX_PLAIN_BYTES: Final = 1 << 20
"""Limit of a message without its arrays."""
_FRAME_STAGES: Final = ("decode", "face")
_AUDIO_STAGES: Final = ("sound",)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputExhausted:
    """A container was read up to this byte; the next picture needs more bytes."""

    consumed_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionFailed:
    """The error that ended an extraction."""

    code: str
    detail: str


WorkerMessage = (
    ClipOpened
    | Chunk
    | ClipClosed
    | FramesExtracted
    | AudioExtracted
    | FrameUnreadable
    | Snapshot
    | InputExhausted
)
MESSAGE_TYPES: Final[tuple[type[WorkerMessage | ExtractionFailed], ...]] = (
    *(ClipOpened, Chunk, ClipClosed, FramesExtracted, AudioExtracted, FrameUnreadable),
    *(Snapshot, InputExhausted, ExtractionFailed),
)
"""Types of messages; the kind of a message is the index of its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessagePrefix:
    """Type of a message, and how many bytes of it follow."""

    type: type[WorkerMessage | ExtractionFailed]
    length: int


def encode_message(message: WorkerMessage | ExtractionFailed) -> Sequence[bytes]:
    """Encode a message as buffers that are written one after the other."""
    content = encode(message)
    return [PREFIX.pack(MESSAGE_TYPES.index(type(message)), len(content)), content]


def encode_error(error: CircumplexError) -> Sequence[bytes]:
    """Encode the error that ends an extraction."""
    return encode_message(ExtractionFailed(code=error.code, detail=error.detail))


def read_prefix(prefix: bytes | memoryview, *, max_frames: int) -> MessagePrefix:
    """Read a prefix.

    Raises: DecoderCrashed: there is no such kind, or it is longer than a message of `max_frames`
        frames can be.
    """
    kind, length = cast("tuple[int, int]", PREFIX.unpack(prefix))
    if kind >= len(MESSAGE_TYPES):
        raise _malformed("kind")
    if length > _max_message_bytes(MESSAGE_TYPES[kind], max_frames):
        raise _malformed("length")
    return MessagePrefix(type=MESSAGE_TYPES[kind], length=length)


def decode_message(
    prefix: MessagePrefix, content: bytes | memoryview, *, max_frames: int
) -> WorkerMessage:
    """Decode and check a message.

    Raises: the error that the message carries; DecoderCrashed: the message is malformed.
    """
    try:
        message = decode(content, prefix.type, max_plain_bytes=_MAX_PLAIN_BYTES)
        return _check(message, max_frames)
    except ValueError as error:
        raise _malformed("values") from error


def _max_message_bytes(kind: type[WorkerMessage | ExtractionFailed], max_frames: int) -> int:
    array_bytes = 0
    if kind in (Chunk, FramesExtracted):
        array_bytes += MAX_FACES * CROP_BYTES
    if kind in (Chunk, AudioExtracted):
        array_bytes += 4 * MAX_SAMPLES_PER_FRAME + 8
    return _MAX_PLAIN_BYTES + max_frames * array_bytes


def _check(message: WorkerMessage | ExtractionFailed, max_frames: int) -> WorkerMessage:
    match message:
        case ClipOpened(media=media):
            return ClipOpened(media=check_record(media))
        case Chunk():
            return _check_chunk(message, max_frames)
        case ClipClosed():
            check_count(message.frames)
            return replace(message, anomalies=check_record(message.anomalies))
        case FramesExtracted():
            return _check_frames_extracted(message, max_frames)
        case AudioExtracted():
            check_audio(message.waveform, message.patch_starts, max_frames=max_frames)
            return replace(
                message, stage_seconds=check_stages(message.stage_seconds, _AUDIO_STAGES)
            )
        case Snapshot():
            check_count(message.frames)
            check_count(message.samples)
            if len(message.state) > MAX_STATE_BYTES:
                raise ValueError("too large a state")
        case InputExhausted():
            check_count(message.consumed_bytes)
        case FrameUnreadable():
            pass
        case ExtractionFailed():
            raise _to_error(message)
    return message


def _check_chunk(chunk: Chunk, max_frames: int) -> Chunk:
    check_frames(chunk.frames, max_frames=max_frames)
    check_crops(chunk.crops, chunk.frames)
    check_audio(chunk.waveform, chunk.patch_starts, max_frames=max_frames)
    if len(chunk.patch_starts) != len(chunk.frames):
        raise ValueError("frames and patches disagree")
    return replace(chunk, stage_seconds=check_stages(chunk.stage_seconds, EXTRACTION_STAGES))


def _check_frames_extracted(message: FramesExtracted, max_frames: int) -> FramesExtracted:
    check_frames(message.frames, max_frames=max_frames)
    check_crops(message.crops, message.frames)
    check_durations(message.arrived_at)
    if len(message.arrived_at) != len(message.frames):
        raise ValueError("frames and arrivals disagree")
    return replace(message, stage_seconds=check_stages(message.stage_seconds, _FRAME_STAGES))


def _to_error(failure: ExtractionFailed) -> CircumplexError:
    error = error_from_code(failure.code, failure.detail[:MAX_TEXT_CHARS])
    if isinstance(error, ClipError | FaceModelsMissing):
        return error
    return _malformed("error")


def _malformed(part: str) -> DecoderCrashed:
    return DecoderCrashed(f"The decoder process sent a message that makes no sense ({part})")
