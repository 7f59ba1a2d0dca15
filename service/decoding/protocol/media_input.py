"""What the parent sends to the child of a stream, one piece of media after the other.

    kind u8 │ time f64, NaN: none │ arrived at f64 │ bytes u32 │ data

The child believes its parent.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

from service.domain.stream import StreamAudio, StreamBytes, StreamFrame, StreamInput

_SIZE: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<BddI")
_END, _CONTAINER, _FRAME, _SOUND = range(4)
END: Final = _HEAD.pack(_END, math.nan, math.nan, 0)
"""Says that no more media will come."""


def encode_piece(piece: StreamInput) -> Sequence[bytes]:
    """A piece as buffers to be written one after the other."""
    kind, seconds, arrived_at = _CONTAINER, math.nan, math.nan
    match piece:
        case StreamBytes():
            arrived_at = piece.arrived_at
        case StreamFrame():
            kind, seconds, arrived_at = _FRAME, piece.time_seconds, piece.arrived_at
        case StreamAudio():
            kind = _SOUND
            seconds = math.nan if piece.time_seconds is None else piece.time_seconds
    return [_HEAD.pack(kind, seconds, arrived_at, len(piece.data)), piece.data]


def encode_state(state: bytes) -> Sequence[bytes]:
    """What goes before all pieces where an extraction goes on from a snapshot."""
    return [_SIZE.pack(len(state)), state]


def read_snapshot(pipe: BinaryIO) -> bytes:
    """The same read; raises EOFError."""
    (size,) = _SIZE.unpack(_read(pipe, _SIZE.size))
    return _read(pipe, size)


def read_pieces(pipe: BinaryIO) -> Iterator[StreamInput]:
    """The pieces, until their end.

    Raises: EOFError: the parent has gone.
    """
    while True:
        kind, seconds, arrived_at, size = _HEAD.unpack(_read(pipe, _HEAD.size))
        data = _read(pipe, size)
        match kind:
            case 1:
                yield StreamBytes(data=data, arrived_at=arrived_at)
            case 2:
                yield StreamFrame(time_seconds=seconds, data=data, arrived_at=arrived_at)
            case 3:
                place = None if math.isnan(seconds) else seconds
                yield StreamAudio(data=data, time_seconds=place)
            case _:
                return


def _read(pipe: BinaryIO, size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("no more media come")
    return data
