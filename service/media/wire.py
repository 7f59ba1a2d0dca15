"""What the decode child says to its parent: a fixed prefix, a JSON header, three raw arrays.

    magic 4s │ header bytes u32 │ crops bytes u32 │ waveform bytes u32 │ patch starts bytes u32
    header (JSON) │ crops (uint8) │ waveform (float32) │ patch starts (int64)

The child works on hostile media, so nothing it says is believed: every length is checked
before a byte of it is read, every value before it is used, and nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.domain.arrays import Bytes, Floats, Integers
from service.domain.clip import (
    EXTRACTION_STAGES,
    Chunk,
    ClipClosed,
    ClipOpened,
    Extract,
    FaceBox,
    Flag,
    Frame,
    MediaFacts,
    Missing,
)
from service.domain.signatures import CROP_SIDE
from service.domain.time import HOP_SAMPLES, PATCH_SAMPLES
from service.errors import CircumplexError, ClipError, DecoderCrashed, FaceModelsMissing

MAGIC: Final = b"CPX1"
PREFIX: Final = struct.Struct("<4s4I")
CROP_BYTES: Final = 3 * CROP_SIDE * CROP_SIDE
_MOST_HEADER_BYTES: Final = 1 << 20
_MOST_SAMPLES_PER_FRAME: Final = -(-PATCH_SAMPLES // HOP_SAMPLES) * HOP_SAMPLES
_MOST_TEXT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Bytes of the four parts that follow a prefix."""

    header: int
    crops: int
    waveform: int
    patch_starts: int


def encode(extract: Extract) -> Sequence[bytes]:
    """A message as buffers to be written one after the other."""
    match extract:
        case ClipOpened(media=media):
            return _frame({"kind": "opened", "media": asdict(media)})
        case ClipClosed(frames=frames, flags=flags):
            return _frame({"kind": "closed", "frames": frames, "flags": list(flags)})
        case Chunk():
            return _encode_chunk(extract)


def encode_error(error: CircumplexError) -> Sequence[bytes]:
    """The error that ends an extraction, as a message."""
    return _frame({"kind": "failed", "code": error.code, "detail": error.detail})


def read_prefix(prefix: bytes, *, most_frames: int) -> Lengths:
    """Lengths of the next message's parts.

    Raises: DecoderCrashed: they are not what a chunk of at most `most_frames` frames has.
    """
    magic, header, crops, waveform, patch_starts = PREFIX.unpack(prefix)
    lengths = Lengths(header=header, crops=crops, waveform=waveform, patch_starts=patch_starts)
    believable = (
        magic == MAGIC
        and header <= _MOST_HEADER_BYTES
        and crops % CROP_BYTES == 0
        and crops <= most_frames * CROP_BYTES
        and waveform % 4 == 0
        and waveform <= most_frames * _MOST_SAMPLES_PER_FRAME * 4
        and patch_starts % 8 == 0
        and patch_starts <= most_frames * 8
    )
    if not believable:
        raise _nonsense("lengths")
    return lengths


def decode(header: bytes, crops: bytes, waveform: bytes, patch_starts: bytes) -> Extract:
    """Make the value that a message stands for; the parts have believable lengths.

    Raises: the error that the message carries; DecoderCrashed: the message makes no sense.
    """
    try:
        fields = json.loads(header)
        match fields["kind"]:
            case "opened":
                return ClipOpened(media=_decode_media(fields["media"]))
            case "chunk":
                return _decode_chunk(fields, crops, waveform, patch_starts)
            case "closed":
                flags = tuple(Flag(flag) for flag in fields["flags"])
                return ClipClosed(frames=_whole(fields["frames"]), flags=flags)
            case "failed":
                error = _decode_error(str(fields["code"]), str(fields["detail"])[:_MOST_TEXT])
            case _:
                error = _nonsense("kind")
    except (ValueError, TypeError, KeyError, RecursionError) as raised:
        raise _nonsense("values") from raised
    raise error


def _frame(fields: dict[str, Any], *arrays: Bytes | Floats | Integers) -> Sequence[bytes]:
    header = json.dumps(fields, separators=(",", ":")).encode()
    parts = [array.tobytes() for array in arrays]
    sizes = [array.nbytes for array in arrays] or [0, 0, 0]
    return [PREFIX.pack(MAGIC, len(header), *sizes), header, *parts]


def _encode_chunk(chunk: Chunk) -> Sequence[bytes]:
    boxes = [
        frame.face
        and [getattr(frame.face, name) for name in ("left", "top", "width", "height", "score")]
        for frame in chunk.frames
    ]
    fields = {
        "kind": "chunk",
        "first": chunk.frames[0].index,
        "times": [frame.time_seconds for frame in chunk.frames],
        "faces": boxes,
        "missing": [frame.missing for frame in chunk.frames],
        "stages": chunk.stage_seconds,
    }
    return _frame(fields, chunk.crops, chunk.waveform, chunk.patch_starts)


def _decode_chunk(
    fields: dict[str, Any], crops: bytes, waveform: bytes, patch_starts: bytes
) -> Chunk:
    first = _whole(fields["first"])
    rows = zip(fields["times"], fields["faces"], fields["missing"], strict=True)
    frames = tuple(
        Frame(
            index=first + offset,
            time_seconds=_finite(seconds),
            face=None if face is None else _decode_box(face),
            missing=None if missing is None else Missing(missing),
        )
        for offset, (seconds, face, missing) in enumerate(rows)
    )
    chunk = Chunk(
        frames=frames,
        crops=np.frombuffer(crops, np.uint8).reshape(-1, 3, CROP_SIDE, CROP_SIDE),
        waveform=np.frombuffer(waveform, np.float32),
        patch_starts=np.frombuffer(patch_starts, np.int64),
        stage_seconds={name: _duration(fields["stages"][name]) for name in EXTRACTION_STAGES},
    )
    _check_chunk(chunk)
    return chunk


def _check_chunk(chunk: Chunk) -> None:
    faces = sum(frame.face is not None for frame in chunk.frames)
    marked = all((frame.face is None) == (frame.missing is not None) for frame in chunk.frames)
    if not chunk.frames or not marked or faces != len(chunk.crops):
        raise ValueError("frames, faces and crops disagree")
    starts = chunk.patch_starts
    if len(starts) != len(chunk.frames):
        raise ValueError("frames and patches disagree")
    last = (len(chunk.waveform) - PATCH_SAMPLES) // HOP_SAMPLES
    if int(starts.min()) < 0 or int(starts.max()) > last:
        raise ValueError("a patch lies outside the waveform")
    if not np.isfinite(chunk.waveform).all() or np.abs(chunk.waveform).max() > 1.0:
        raise ValueError("sound outside [-1, 1]")


def _decode_box(values: list[object]) -> FaceBox:
    left, top, width, height, score = (_finite(value) for value in values)
    return FaceBox(left=left, top=top, width=width, height=height, score=score)


def _decode_media(fields: dict[str, Any]) -> MediaFacts:
    def text(name: str) -> str:
        return str(fields[name])[:_MOST_TEXT]

    def count(name: str) -> int | None:
        return None if fields[name] is None else _whole(fields[name])

    def measure(name: str) -> float | None:
        return None if fields[name] is None else _finite(fields[name])

    return MediaFacts(
        container=text("container"),
        video_streams=_whole(fields["video_streams"]),
        video_stream_index=_whole(fields["video_stream_index"]),
        video_codec=text("video_codec"),
        width=_whole(fields["width"]),
        height=_whole(fields["height"]),
        rotation_degrees=_whole(fields["rotation_degrees"]),
        average_rate_hz=measure("average_rate_hz"),
        duration_seconds=measure("duration_seconds"),
        frames_estimate=count("frames_estimate"),
        audio_codec=None if fields["audio_codec"] is None else text("audio_codec"),
        audio_rate_hz=count("audio_rate_hz"),
        audio_channels=count("audio_channels"),
    )


def _decode_error(code: str, detail: str) -> CircumplexError:
    error = CircumplexError.of_code(code, detail)
    if isinstance(error, ClipError | FaceModelsMissing):
        return error
    return _nonsense("error")


def _whole(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 2**53:
        raise ValueError("not a count")
    return value


def _finite(value: object) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a number")
    return float(value)


def _duration(value: object) -> float:
    seconds = _finite(value)
    if seconds < 0:
        raise ValueError("not a duration")
    return seconds


def _nonsense(what: str) -> DecoderCrashed:
    return DecoderCrashed(f"The decoder process sent a message that makes no sense ({what})")
