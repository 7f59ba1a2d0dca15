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

from service.domain.arrays import Bytes, Floats, Integers
from service.domain.clip import Extract
from service.domain.live import MAX_STATE_BYTES, Heard, LiveExtract, Seen, Snapshot, Unreadable
from service.nursery import wire
from service.nursery.belief import check_duration, check_whole

_NO_CROPS: Bytes = np.empty(0, np.uint8)
_NO_SOUND: Floats = np.empty(0, np.float32)
_NO_STARTS: Integers = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dry:
    """Of a container so many bytes were looked at, and no picture comes before there are more."""

    taken_bytes: int


LiveMessage = LiveExtract | Dry
MAX_PACKED_BYTES: Final = MAX_STATE_BYTES - 64
"""Of the state of a snapshot as the child knows it."""


def encode(message: LiveMessage | Extract) -> Sequence[bytes]:
    """A message as buffers to be written one after the other."""
    match message:
        case Seen():
            fields = {
                "kind": "seen",
                "arrived": message.arrived_at,
                "stages": message.stage_seconds,
                **wire.encode_frames(message.frames),
            }
            return wire.frame(fields, message.crops, _NO_SOUND, _NO_STARTS)
        case Heard():
            fields = {"kind": "heard", "stages": message.stage_seconds}
            return wire.frame(fields, _NO_CROPS, message.waveform, message.patch_starts)
        case Unreadable():
            return wire.frame({"kind": "unreadable"})
        case Snapshot():
            state = base64.b64encode(message.state).decode()
            fields = {"frames": message.frames, "samples": message.samples, "state": state}
            return wire.frame({"kind": "snapshot", **fields})
        case Dry(taken_bytes=taken_bytes):
            return wire.frame({"kind": "dry", "taken": taken_bytes})
        case _:
            return wire.encode(message)


def decode(header: bytes, crops: bytes, waveform: bytes, patch_starts: bytes) -> LiveMessage:
    """Make the value that a message stands for; the parts have believable lengths.

    Raises: the error that the message carries; DecoderCrashed: the message makes no sense.
    """
    with wire.believing():
        fields = json.loads(header)
        match fields["kind"]:
            case "seen":
                return _decode_seen(fields, crops)
            case "heard":
                heard, starts = wire.decode_sound(waveform, patch_starts)
                stages = wire.decode_stages(fields, ("sound",))
                return Heard(waveform=heard, patch_starts=starts, stage_seconds=stages)
            case "unreadable":
                return Unreadable()
            case "snapshot":
                return _decode_snapshot(fields)
            case "dry":
                return Dry(taken_bytes=check_whole(fields["taken"]))
            case _:
                return wire.decode_edge(fields)


def _decode_snapshot(fields: dict[str, Any]) -> Snapshot:
    state = base64.b64decode(fields["state"], validate=True)
    if len(state) > MAX_PACKED_BYTES:
        raise ValueError("too large a state")
    frames, samples = check_whole(fields["frames"]), check_whole(fields["samples"])
    return Snapshot(frames=frames, samples=samples, state=state)


def _decode_seen(fields: dict[str, Any], crops: bytes) -> Seen:
    frames = wire.decode_frames(fields)
    arrived_at = tuple(check_duration(each) for each in fields["arrived"])
    if len(arrived_at) != len(frames):
        raise ValueError("frames and arrivals disagree")
    return Seen(
        frames=frames,
        crops=wire.decode_crops(crops, frames),
        arrived_at=arrived_at,
        stage_seconds=wire.decode_stages(fields, ("decode", "face")),
    )
