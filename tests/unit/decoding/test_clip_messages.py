"""The child's messages: what is sent arrives, and nonsense is refused."""

from __future__ import annotations

import dataclasses
import json
import struct
from dataclasses import replace

import numpy as np
import pytest

from service.decoding.protocol import messages
from service.domain.clip import (
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
from service.errors import CircumplexError, ClipTooLong, DecoderCrashed, InternalError

MEDIA_INFO = MediaInfo(
    container="mov,mp4",
    video_streams=2,
    video_stream_index=3,
    video_codec="h264",
    width=640,
    height=360,
    rotation_degrees=90,
    average_rate_hz=30000 / 1001,
    duration_seconds=None,
    frames_estimate=None,
    audio_codec="aac",
    audio_rate_hz=44_100,
    audio_channels=2,
)


def make_chunk() -> Chunk:
    random = np.random.default_rng(0)
    box = FaceBox(left=-1.5, top=2.25, width=30.1, height=40.0, score=0.9)
    other = TrackedFace(track=1, box=replace(box, left=99.5))
    return Chunk(
        frames=(
            Frame(index=64, time_seconds=1 / 3, faces=(TrackedFace(track=2, box=box), other)),
            Frame(index=65, time_seconds=0.1 + 0.2),
            Frame(index=66, time_seconds=0.5, faces=(other,)),
        ),
        crops=random.integers(0, 256, (3, 3, 112, 112), dtype=np.uint8),
        waveform=random.uniform(-1, 1, 102 * 160).astype(np.float32),
        patch_starts=np.array([0, 2, 4], dtype=np.int64),
        stage_seconds={"decode": 0.25, "face": 0.5, "sound": 0.0},
    )


def round_trip(message: ExtractionEvent) -> ExtractionEvent:
    return decode_message(b"".join(messages.encode(message)))


def decode_message(content: bytes) -> ExtractionEvent:
    lengths = messages.read_prefix(content[: messages.PREFIX.size], max_frames=32)
    parts, place = [], messages.PREFIX.size
    for length in (lengths.header, lengths.crops, lengths.waveform, lengths.patch_starts):
        parts.append(content[place : place + length])
        place += length
    assert place == len(content)
    return messages.decode(*parts)


def test_a_chunk_arrives_as_it_was_sent() -> None:
    sent, received = make_chunk(), round_trip(make_chunk())
    assert isinstance(received, Chunk)
    assert received.frames == sent.frames
    assert received.stage_seconds == sent.stage_seconds
    for name in ("crops", "waveform", "patch_starts"):
        assert np.array_equal(getattr(received, name), getattr(sent, name))
        assert getattr(received, name).dtype == getattr(sent, name).dtype


@pytest.mark.parametrize(
    "message",
    [
        ClipOpened(media=MEDIA_INFO),
        ClipClosed(frames=7, flags=(Flag.DAMAGED, Flag.NO_AUDIO)),
        ClipClosed(frames=0),
        ClipClosed(
            frames=7,
            anomalies=Anomalies(variable_rate=True, shortest_step_seconds=1 / 3, audio_gaps=2),
        ),
        ClipOpened(
            media=dataclasses.replace(
                MEDIA_INFO,
                container_seconds=1.5,
                hdr="pq",
                bit_depth=10,
                mirrored=True,
                video_start_seconds=-0.021,
            )
        ),
    ],
)
def test_opening_and_closing_arrive_as_they_were_sent(message: ExtractionEvent) -> None:
    assert round_trip(message) == message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("container", None),
        ("container", 7),
        ("width", 640.5),
        ("width", True),
        ("mirrored", 1),
        ("bit_depth", -8),
        ("video_start_seconds", float("inf")),
        ("average_rate_hz", "25"),
    ],
)
def test_media_info_of_wrong_types_is_refused(field: str, value: object) -> None:
    _, header = messages.encode(ClipOpened(media=MEDIA_INFO))
    fields = json.loads(header)
    fields["media"][field] = value
    with pytest.raises(DecoderCrashed):
        messages.decode(json.dumps(fields).encode(), b"", b"", b"")


def test_an_error_arrives_as_itself() -> None:
    with pytest.raises(ClipTooLong, match="five hours"):
        decode_message(b"".join(messages.encode_error(ClipTooLong("five hours"))))


@pytest.mark.parametrize("error", [InternalError("x"), CircumplexError("x")])
def test_only_clip_errors_are_accepted_from_the_worker(error: CircumplexError) -> None:
    with pytest.raises(DecoderCrashed):
        decode_message(b"".join(messages.encode_error(error)))


@pytest.mark.parametrize(
    "values",
    [
        (b"HTTP", 10, 0, 0, 0),
        (messages.MAGIC, 2**31, 0, 0, 0),
        (messages.MAGIC, 10, 32 * (MAX_FACES + 1) * messages.CROP_BYTES, 0, 0),
        (messages.MAGIC, 10, messages.CROP_BYTES - 1, 0, 0),
        (messages.MAGIC, 10, 0, 2**30, 0),
        (messages.MAGIC, 10, 0, 3, 0),
        (messages.MAGIC, 10, 0, 0, 33 * 8),
    ],
)
def test_impossible_lengths_are_refused_before_reading(values: tuple[object, ...]) -> None:
    with pytest.raises(DecoderCrashed):
        messages.read_prefix(struct.pack("<4s4I", *values), max_frames=32)


MALFORMED_FIELDS = {
    "first": -1,
    "times": [0.0, float("nan"), 0.0],
    "faces": [[], [], []],
    "stages": {"decode": "soon"},
    "kind": "surprise",
}


@pytest.mark.parametrize(("field", "value"), MALFORMED_FIELDS.items(), ids=MALFORMED_FIELDS.keys())
def test_headers_that_contradict_their_arrays_are_refused(field: str, value: object) -> None:
    _, header, *arrays = messages.encode(make_chunk())
    fields = json.loads(header) | {field: value}
    with pytest.raises(DecoderCrashed):
        messages.decode(json.dumps(fields).encode(), *arrays)


FACE = [1, 0.0, 0.0, 1.0, 1.0, 1.0]
BAD_FACES = {
    "no faces": [None, [], []],
    "two of one track": [[FACE, FACE], [FACE], []],
    "no track": [[[-1, *FACE[1:]]], [FACE], [FACE]],
    "half a box": [[FACE[:5]], [FACE], [FACE]],
    "no number": [[[1, float("inf"), 0.0, 1.0, 1.0, 1.0]], [FACE], [FACE]],
}


@pytest.mark.parametrize("faces", BAD_FACES.values(), ids=BAD_FACES.keys())
def test_invalid_faces_are_refused(faces: object) -> None:
    _, header, *arrays = messages.encode(make_chunk())
    with pytest.raises(DecoderCrashed):
        messages.decode(json.dumps(json.loads(header) | {"faces": faces}).encode(), *arrays)


@pytest.mark.parametrize("count", [MAX_FACES, MAX_FACES + 1])
def test_a_frame_has_a_bounded_number_of_faces(count: int) -> None:
    _, header, _, *sound = messages.encode(make_chunk())
    faces = [[[track, *FACE[1:]] for track in range(count)], [], []]
    fields = json.loads(header) | {"faces": faces}
    message = (json.dumps(fields).encode(), bytes(count * messages.CROP_BYTES), *sound)
    if count > MAX_FACES:
        with pytest.raises(DecoderCrashed):
            messages.decode(*message)
    else:
        received = messages.decode(*message)
        assert isinstance(received, Chunk)
        assert len(received.frames[0].faces) == count


@pytest.mark.parametrize("stages", [{"decode": 0.1}, {"decode": 0.1, "face": 0.1, "sound": -1}])
def test_invalid_stage_durations_are_refused(stages: dict[str, float]) -> None:
    _, header, *arrays = messages.encode(make_chunk())
    fields = json.loads(header) | {"stages": stages}
    with pytest.raises(DecoderCrashed):
        messages.decode(json.dumps(fields).encode(), *arrays)


def test_unknown_stage_never_becomes_a_metric_label() -> None:
    _, header, *arrays = messages.encode(make_chunk())
    fields = json.loads(header)
    fields["stages"] |= {f"stage {number}": 1.0 for number in range(100)}
    received = messages.decode(json.dumps(fields).encode(), *arrays)
    assert isinstance(received, Chunk)
    assert received.stage_seconds == make_chunk().stage_seconds


@pytest.mark.parametrize(
    "header", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"kind":"opened"}']
)
def test_malformed_headers_are_refused(header: bytes) -> None:
    with pytest.raises(DecoderCrashed):
        messages.decode(header, b"", b"", b"")


def test_patches_outside_the_sound_are_refused() -> None:
    _, header, crops, waveform, _ = messages.encode(make_chunk())
    for starts in ([0, 0, 5], [-1, 0, 0], [0, 0, 2**62]):
        with pytest.raises(DecoderCrashed):
            messages.decode(header, crops, waveform, np.array(starts, np.int64).tobytes())


@pytest.mark.parametrize("sample", [float("nan"), float("inf"), 1.5])
def test_sound_out_of_range_is_refused(sample: float) -> None:
    _, header, crops, waveform, starts = messages.encode(make_chunk())
    loud = np.frombuffer(waveform, np.float32).copy()
    loud[100] = sample
    with pytest.raises(DecoderCrashed):
        messages.decode(header, crops, loud.tobytes(), starts)
