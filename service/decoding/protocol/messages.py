"""What the decode child says to its parent: a fixed prefix, a JSON header, three raw arrays.

    magic 4s │ header bytes u32 │ crops bytes u32 │ waveform bytes u32 │ patch starts bytes u32
    header (JSON) │ crops (uint8) │ waveform (float32) │ patch starts (int64)

The child works on hostile media, so nothing it says is believed: every length is checked
before a byte of it is read, every value before it is used, and nothing is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from service.decoding.protocol.validation import (
    validate_count,
    validate_duration,
    validate_number,
    validate_record,
)
from service.domain.array_types import Float32Array, Int64Array, UInt8Array
from service.domain.audio_grid import HOP_SAMPLES, PATCH_SAMPLES
from service.domain.clip import (
    EXTRACTION_STAGES,
    MAX_FACES,
    Chunk,
    ClipClosed,
    ClipOpened,
    ExtractionEvent,
    FaceBox,
    Frame,
    TrackedFace,
)
from service.domain.media import Anomalies, Flag, MediaInfo
from service.domain.model_signatures import CROP_SIDE
from service.errors import (
    CircumplexError,
    ClipError,
    DecoderCrashed,
    FaceModelsMissing,
    error_from_code,
)

MAGIC: Final = b"CPX1"
PREFIX: Final = struct.Struct("<4s4I")
CROP_BYTES: Final = 3 * CROP_SIDE * CROP_SIDE
_MAX_HEADER_BYTES: Final = 1 << 20
_MAX_SAMPLES_PER_FRAME: Final = -(-PATCH_SAMPLES // HOP_SAMPLES) * HOP_SAMPLES
_MAX_TEXT: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Bytes of the four parts that follow a prefix."""

    header: int
    crops: int
    waveform: int
    patch_starts: int


def encode(extract: ExtractionEvent) -> Sequence[bytes]:
    """A message as buffers to be written one after the other."""
    match extract:
        case ClipOpened(media=media):
            return frame({"kind": "opened", "media": asdict(media)})
        case ClipClosed(frames=frames, flags=flags, anomalies=anomalies):
            fields = {"kind": "closed", "frames": frames, "flags": list(flags)}
            return frame(fields | {"anomalies": asdict(anomalies)})
        case Chunk():
            return _encode_chunk(extract)


def encode_error(error: CircumplexError) -> Sequence[bytes]:
    """The error that ends an extraction, as a message."""
    return frame({"kind": "failed", "code": error.code, "detail": error.detail})


def read_prefix(prefix: bytes, *, max_frames: int) -> Lengths:
    """Lengths of the next message's parts.

    Raises: DecoderCrashed: they are not what a chunk of at most `max_frames` frames has.
    """
    magic, header, crops, waveform, patch_starts = PREFIX.unpack(prefix)
    lengths = Lengths(header=header, crops=crops, waveform=waveform, patch_starts=patch_starts)
    believable = (
        magic == MAGIC
        and header <= _MAX_HEADER_BYTES
        and crops % CROP_BYTES == 0
        and crops <= max_frames * MAX_FACES * CROP_BYTES
        and waveform % 4 == 0
        and waveform <= max_frames * _MAX_SAMPLES_PER_FRAME * 4
        and patch_starts % 8 == 0
        and patch_starts <= max_frames * 8
    )
    if not believable:
        raise malformed("lengths")
    return lengths


def decode(header: bytes, crops: bytes, waveform: bytes, patch_starts: bytes) -> ExtractionEvent:
    """Make the value that a message stands for; the parts have believable lengths.

    Raises: the error that the message carries; DecoderCrashed: the message makes no sense.
    """
    with rejecting_malformed():
        fields = json.loads(header)
        if fields["kind"] == "chunk":
            return _decode_chunk(fields, crops, waveform, patch_starts)
        return decode_edge(fields)


def decode_edge(fields: dict[str, Any]) -> ClipOpened | ClipClosed:
    """Make the value that the first or the last message of an extraction stands for.

    Raises: the error that it carries; DecoderCrashed, ValueError, TypeError, KeyError: it makes
        no sense.
    """
    match fields["kind"]:
        case "opened":
            return ClipOpened(media=validate_record(MediaInfo, fields["media"]))
        case "closed":
            return ClipClosed(
                frames=validate_count(fields["frames"]),
                flags=tuple(Flag(flag) for flag in fields["flags"]),
                anomalies=validate_record(Anomalies, fields["anomalies"]),
            )
        case "failed":
            raise _decode_error(str(fields["code"]), str(fields["detail"])[:_MAX_TEXT])
        case _:
            raise malformed("kind")


@contextlib.contextmanager
def rejecting_malformed() -> Generator[None]:
    """Raises DecoderCrashed where something is read that makes no sense."""
    try:
        yield
    except (ValueError, TypeError, KeyError, RecursionError) as raised:
        raise malformed("values") from raised


def frame(
    fields: dict[str, Any], *arrays: UInt8Array | Float32Array | Int64Array
) -> Sequence[bytes]:
    """A message of these fields and three arrays, or none."""
    header = json.dumps(fields, separators=(",", ":")).encode()
    parts = [array.tobytes() for array in arrays]
    sizes = [array.nbytes for array in arrays] or [0, 0, 0]
    return [PREFIX.pack(MAGIC, len(header), *sizes), header, *parts]


def _encode_chunk(chunk: Chunk) -> Sequence[bytes]:
    fields = {"kind": "chunk", "stages": chunk.stage_seconds, **encode_frames(chunk.frames)}
    return frame(fields, chunk.crops, chunk.waveform, chunk.patch_starts)


def _decode_chunk(
    fields: dict[str, Any], crops: bytes, waveform: bytes, patch_starts: bytes
) -> Chunk:
    frames = decode_frames(fields)
    heard, starts = decode_sound(waveform, patch_starts)
    if len(starts) != len(frames):
        raise ValueError("frames and patches disagree")
    return Chunk(
        frames=frames,
        crops=decode_crops(crops, frames),
        waveform=heard,
        patch_starts=starts,
        stage_seconds=decode_stages(fields, EXTRACTION_STAGES),
    )


def encode_frames(frames: Sequence[Frame]) -> dict[str, Any]:
    """Fields that say where, when and with which faces consecutive frames are."""
    return {
        "first": frames[0].index,
        "times": [each.time_seconds for each in frames],
        "faces": [[_face_values(face) for face in each.faces] for each in frames],
    }


def decode_frames(fields: dict[str, Any]) -> tuple[Frame, ...]:
    """The same read back: at least one frame, and no track with two faces in it.

    Raises: ValueError, TypeError, KeyError.
    """
    first = validate_count(fields["first"])
    rows = zip(fields["times"], fields["faces"], strict=True)
    frames = tuple(
        Frame(
            index=first + offset,
            time_seconds=validate_number(seconds),
            faces=tuple(_decode_face(face) for face in faces),
        )
        for offset, (seconds, faces) in enumerate(rows)
    )
    if not frames:
        raise ValueError("no frames")
    for each in frames:
        if len(each.faces) > MAX_FACES:
            raise ValueError("too many faces in one frame")
        if len({face.track for face in each.faces}) < len(each.faces):
            raise ValueError("a track has two faces in one frame")
    return frames


def decode_crops(crops: bytes, frames: Sequence[Frame]) -> UInt8Array:
    """(N, 3, 112, 112), one for each face; raises ValueError."""
    found = np.frombuffer(crops, np.uint8).reshape(-1, 3, CROP_SIDE, CROP_SIDE)
    if sum(len(each.faces) for each in frames) != len(found):
        raise ValueError("faces and crops disagree")
    return found


def decode_sound(waveform: bytes, patch_starts: bytes) -> tuple[Float32Array, Int64Array]:
    """A waveform and the patches in it, at least one; raises ValueError."""
    heard, starts = np.frombuffer(waveform, np.float32), np.frombuffer(patch_starts, np.int64)
    last = (len(heard) - PATCH_SAMPLES) // HOP_SAMPLES
    if not len(starts) or int(starts.min()) < 0 or int(starts.max()) > last:
        raise ValueError("a patch lies outside the waveform")
    if not np.isfinite(heard).all() or np.abs(heard).max() > 1.0:
        raise ValueError("sound outside [-1, 1]")
    return heard, starts


def decode_stages(fields: dict[str, Any], stages: Sequence[str]) -> dict[str, float]:
    """Busy seconds of these stages; raises ValueError, TypeError, KeyError."""
    return {name: validate_duration(fields["stages"][name]) for name in stages}


def _face_values(face: TrackedFace) -> list[float]:
    box = face.box
    return [face.track, box.left, box.top, box.width, box.height, box.score]


def _decode_face(values: list[object]) -> TrackedFace:
    track, *numbers = values
    left, top, width, height, score = (validate_number(number) for number in numbers)
    box = FaceBox(left=left, top=top, width=width, height=height, score=score)
    return TrackedFace(track=validate_count(track), box=box)


def _decode_error(code: str, detail: str) -> CircumplexError:
    error = error_from_code(code, detail)
    if isinstance(error, ClipError | FaceModelsMissing):
        return error
    return malformed("error")


def malformed(what: str) -> DecoderCrashed:
    """What a message stands for that nobody would send."""
    return DecoderCrashed(f"The decoder process sent a message that makes no sense ({what})")
