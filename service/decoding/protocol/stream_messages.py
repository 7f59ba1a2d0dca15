"""What the child of a stream says to its parent, in the messages of `wire`; believed as little.

Seen: header │ crops │ - │ -      Heard: header │ - │ waveform │ patch starts
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.decoding.protocol import messages
from service.decoding.protocol.validation import validate_count, validate_duration
from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.clip import ExtractionEvent
from service.domain.stream import (
    MAX_SNAPSHOT_BYTES,
    AudioExtracted,
    FramesExtracted,
    FrameUnreadable,
    Snapshot,
    StreamExtractionEvent,
)

_NO_CROPS: UInt8Array = np.empty(0, np.uint8)
_NO_SOUND: Float32Array = np.empty(0, np.float32)
_NO_STARTS: Int64Array = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class InputExhausted:
    """Of a container so many bytes were looked at, and no picture comes before there are more."""

    consumed_bytes: int


StreamMessage = StreamExtractionEvent | InputExhausted
MAX_PACKED_BYTES: Final = MAX_SNAPSHOT_BYTES - 64
"""Of the state of a snapshot as the child knows it."""


def encode(message: StreamMessage | ExtractionEvent) -> Sequence[bytes]:
    """A message as buffers to be written one after the other."""
    match message:
        case FramesExtracted():
            fields = {
                "kind": "seen",
                "arrived": message.arrived_at,
                "stages": message.stage_seconds,
                **messages.encode_frames(message.frames),
            }
            return messages.frame(fields, message.crops, _NO_SOUND, _NO_STARTS)
        case AudioExtracted():
            fields = {"kind": "heard", "stages": message.stage_seconds}
            return messages.frame(fields, _NO_CROPS, message.waveform, message.patch_starts)
        case FrameUnreadable():
            return messages.frame({"kind": "unreadable"})
        case Snapshot():
            state = base64.b64encode(message.state).decode()
            fields = {"frames": message.frames, "samples": message.samples, "state": state}
            return messages.frame({"kind": "snapshot", **fields})
        case InputExhausted(consumed_bytes=taken_bytes):
            return messages.frame({"kind": "dry", "taken": taken_bytes})
        case _:
            return messages.encode(message)


def decode(header: bytes, crops: bytes, waveform: bytes, patch_starts: bytes) -> StreamMessage:
    """Make the value that a message stands for; the parts have believable lengths.

    Raises: the error that the message carries; DecoderCrashed: the message makes no sense.
    """
    with messages.rejecting_malformed():
        fields = json.loads(header)
        match fields["kind"]:
            case "seen":
                return _decode_seen(fields, crops)
            case "heard":
                heard, starts = messages.decode_sound(waveform, patch_starts)
                stages = messages.decode_stages(fields, ("sound",))
                return AudioExtracted(waveform=heard, patch_starts=starts, stage_seconds=stages)
            case "unreadable":
                return FrameUnreadable()
            case "snapshot":
                return _decode_snapshot(fields)
            case "dry":
                return InputExhausted(consumed_bytes=validate_count(fields["taken"]))
            case _:
                return messages.decode_edge(fields)


def _decode_snapshot(fields: dict[str, Any]) -> Snapshot:
    state = base64.b64decode(fields["state"], validate=True)
    if len(state) > MAX_PACKED_BYTES:
        raise ValueError("too large a state")
    frames, samples = validate_count(fields["frames"]), validate_count(fields["samples"])
    return Snapshot(frames=frames, samples=samples, state=state)


def _decode_seen(fields: dict[str, Any], crops: bytes) -> FramesExtracted:
    frames = messages.decode_frames(fields)
    arrived_at = tuple(validate_duration(each) for each in fields["arrived"])
    if len(arrived_at) != len(frames):
        raise ValueError("frames and arrivals disagree")
    return FramesExtracted(
        frames=frames,
        crops=messages.decode_crops(crops, frames),
        arrived_at=arrived_at,
        stage_seconds=messages.decode_stages(fields, ("decode", "face")),
    )
