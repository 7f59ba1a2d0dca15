"""Messages of a clip's decode process: round trips, and refusal of malformed ones."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.decoding.protocol.messages import (
    MESSAGE_TYPES,
    PREFIX,
    ExtractionFailed,
    InputExhausted,
    WorkerMessage,
    encode_error,
    read_prefix,
)
from service.decoding.protocol.validation import MAX_SAMPLES_PER_FRAME
from service.domain.clip import (
    MAX_FACES,
    Chunk,
    ClipClosed,
    ClipOpened,
    FaceBox,
    Frame,
    TrackedFace,
)
from service.domain.media import Anomalies, Flag, MediaInfo
from service.domain.model_signatures import CROP_BYTES
from service.domain.stream import AudioExtracted, FramesExtracted, Snapshot
from service.errors import CircumplexError, ClipTooLong, DecoderCrashed, InternalError
from service.serialization import encode
from tests.unit.decoding.forged_messages import (
    MAX_FRAMES,
    MessageType,
    read_bytes,
    read_content,
    read_fields,
    round_trip,
    to_fields,
)

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


def read_changed_chunk(**changes: object) -> WorkerMessage:
    return read_fields(Chunk, to_fields(make_chunk()) | changes)


def frame_fields(*faces_of_frames: object) -> list[dict[str, object]]:
    """Fields of consecutive frames with these faces."""
    return [
        {"index": 64 + place, "time_seconds": 0.0, "faces": faces}
        for place, faces in enumerate(faces_of_frames)
    ]


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
def test_opening_and_closing_arrive_as_they_were_sent(message: ClipOpened | ClipClosed) -> None:
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
    fields = to_fields(ClipOpened(media=MEDIA_INFO))
    fields["media"][field] = value
    with pytest.raises(DecoderCrashed):
        read_fields(ClipOpened, fields)


def test_long_texts_are_shortened() -> None:
    received = round_trip(ClipOpened(media=replace(MEDIA_INFO, container="x" * 10_000)))
    assert isinstance(received, ClipOpened)
    assert received.media.container == "x" * 500


@pytest.mark.parametrize("changes", [{"frames": -1}, {"flags": ["surprise"]}, {"anomalies": None}])
def test_malformed_closing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DecoderCrashed):
        read_fields(ClipClosed, to_fields(ClipClosed(frames=7)) | changes)


def test_an_error_round_trips_with_its_class() -> None:
    with pytest.raises(ClipTooLong, match="five hours"):
        read_bytes(b"".join(encode_error(ClipTooLong("five hours"))))


@pytest.mark.parametrize("error", [InternalError("x"), CircumplexError("x")])
def test_only_clip_errors_are_accepted_from_the_worker(error: CircumplexError) -> None:
    with pytest.raises(DecoderCrashed):
        read_bytes(b"".join(encode_error(error)))


MAX_PLAIN_BYTES = 2**20
MAX_CROPS_BYTES = MAX_FRAMES * MAX_FACES * CROP_BYTES
MAX_AUDIO_BYTES = MAX_FRAMES * (4 * MAX_SAMPLES_PER_FRAME + 8)


@pytest.mark.parametrize(
    ("kind", "max_bytes"),
    [
        (ClipOpened, MAX_PLAIN_BYTES),
        (ClipClosed, MAX_PLAIN_BYTES),
        (Snapshot, MAX_PLAIN_BYTES),
        (InputExhausted, MAX_PLAIN_BYTES),
        (ExtractionFailed, MAX_PLAIN_BYTES),
        (FramesExtracted, MAX_PLAIN_BYTES + MAX_CROPS_BYTES),
        (AudioExtracted, MAX_PLAIN_BYTES + MAX_AUDIO_BYTES),
        (Chunk, MAX_PLAIN_BYTES + MAX_CROPS_BYTES + MAX_AUDIO_BYTES),
    ],
)
def test_impossible_lengths_are_refused_before_reading(kind: MessageType, max_bytes: int) -> None:
    place = MESSAGE_TYPES.index(kind)
    assert read_prefix(PREFIX.pack(place, max_bytes), max_frames=MAX_FRAMES).length == max_bytes
    for length in (max_bytes + 1, 2**31):
        with pytest.raises(DecoderCrashed):
            read_prefix(PREFIX.pack(place, length), max_frames=MAX_FRAMES)


@pytest.mark.parametrize("prefix", [b"HTTP/", PREFIX.pack(len(MESSAGE_TYPES), 10), b"\xff" * 5])
def test_unknown_kinds_are_refused_before_reading(prefix: bytes) -> None:
    with pytest.raises(DecoderCrashed):
        read_prefix(prefix, max_frames=MAX_FRAMES)


def test_plain_values_are_limited_even_where_arrays_may_be_large() -> None:
    with pytest.raises(DecoderCrashed):
        read_changed_chunk(stage_seconds={f"stage {number}": 1.0 for number in range(2**17)})


MALFORMED_FIELDS: dict[str, dict[str, object]] = {
    "a negative index": {"frames": [{**frame, "index": -1} for frame in frame_fields([], [], [])]},
    "a gap between frames": {
        "frames": [to_fields(make_chunk())["frames"][place] for place in (0, 2, 1)]
    },
    "a time that is no number": {
        "frames": [
            {**frame, "time_seconds": float("nan")} for frame in to_fields(make_chunk())["frames"]
        ]
    },
    "no frames": {"frames": []},
    "no faces for the crops": {"frames": frame_fields([], [], [])},
    "a stage that is no number": {"stage_seconds": {"decode": "soon"}},
    "crops of another shape": {"crops": np.zeros((3, 3, 112, 111), np.uint8)},
    "flat crops": {"crops": np.zeros(3 * CROP_BYTES, np.uint8)},
    "crops of another type": {"crops": np.zeros((3, 3, 112, 112), np.float32)},
    "a waveform of another type": {"waveform": np.zeros(102 * 160, np.float64)},
    "a waveform of two dimensions": {"waveform": np.zeros((102, 160), np.float32)},
    "too long a waveform": {
        "waveform": np.zeros(MAX_FRAMES * MAX_SAMPLES_PER_FRAME + 1, np.float32)
    },
    "patches of other frames": {"patch_starts": np.zeros(MAX_FRAMES + 1, np.int64)},
    "bytes for an array": {"patch_starts": bytes(24)},
    "objects for an array": {"patch_starts": ["object", [3], 0]},
}


@pytest.mark.parametrize("changes", MALFORMED_FIELDS.values(), ids=MALFORMED_FIELDS.keys())
def test_fields_that_contradict_their_arrays_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DecoderCrashed):
        read_changed_chunk(**changes)


def test_content_of_another_kind_is_refused() -> None:
    with pytest.raises(DecoderCrashed):
        read_fields(ClipOpened, to_fields(make_chunk()))


def face_fields(track: int = 1, **changes: object) -> dict[str, Any]:
    box: dict[str, object] = {"left": 0.0, "top": 0.0, "width": 1.0, "height": 1.0, "score": 1.0}
    return {"track": track, "box": box | changes}


HALF_A_BOX = {"track": 1, "box": {"left": 0.0, "top": 0.0}}
BAD_FACES: dict[str, list[object]] = {
    "no faces": [None, [], []],
    "two of one track": [[face_fields(), face_fields()], [face_fields()], []],
    "no track": [[face_fields(-1)], [face_fields()], [face_fields()]],
    "half a box": [[HALF_A_BOX], [face_fields()], [face_fields()]],
    "no number": [[face_fields(left=float("inf"))], [face_fields()], [face_fields()]],
}


@pytest.mark.parametrize("faces", BAD_FACES.values(), ids=BAD_FACES.keys())
def test_invalid_faces_are_refused(faces: list[object]) -> None:
    with pytest.raises(DecoderCrashed):
        read_changed_chunk(frames=frame_fields(*faces))


@pytest.mark.parametrize("count", [MAX_FACES, MAX_FACES + 1])
def test_a_frame_has_a_bounded_number_of_faces(count: int) -> None:
    frames = frame_fields([face_fields(track) for track in range(count)], [], [])
    crops = np.zeros((count, 3, 112, 112), np.uint8)
    if count > MAX_FACES:
        with pytest.raises(DecoderCrashed):
            read_changed_chunk(frames=frames, crops=crops)
    else:
        received = read_changed_chunk(frames=frames, crops=crops)
        assert isinstance(received, Chunk)
        assert len(received.frames[0].faces) == count


def test_a_message_has_a_bounded_number_of_frames() -> None:
    for count in (MAX_FRAMES, MAX_FRAMES + 1):
        changes = {
            "frames": frame_fields(*[()] * count),
            "crops": np.zeros((0, 3, 112, 112), np.uint8),
            "patch_starts": np.zeros(count, np.int64),
        }
        if count > MAX_FRAMES:
            with pytest.raises(DecoderCrashed):
                read_changed_chunk(**changes)
        else:
            assert isinstance(read_changed_chunk(**changes), Chunk)


@pytest.mark.parametrize("stages", [{"decode": 0.1}, {"decode": 0.1, "face": 0.1, "sound": -1}])
def test_invalid_stage_durations_are_refused(stages: dict[str, float]) -> None:
    with pytest.raises(DecoderCrashed):
        read_changed_chunk(stage_seconds=stages)


def test_unknown_stage_never_becomes_a_metric_label() -> None:
    stages = make_chunk().stage_seconds | {f"stage {number}": 1.0 for number in range(100)}
    received = read_changed_chunk(stage_seconds=stages)
    assert isinstance(received, Chunk)
    assert received.stage_seconds == make_chunk().stage_seconds


DEEP = b"\x91" * 100_000


@pytest.mark.parametrize(
    "content",
    [b"", encode([]), encode({}), b"\xff", DEEP, b"\x92" + DEEP + b"\x90\x90"],
    ids=["empty", "list", "map", "number", "deep", "deep plain values"],
)
def test_malformed_contents_are_refused(content: bytes) -> None:
    for kind in (ClipOpened, ClipClosed, Chunk, ExtractionFailed):
        with pytest.raises(DecoderCrashed):
            read_content(kind, content)


def test_bytes_after_a_message_are_refused() -> None:
    with pytest.raises(DecoderCrashed):
        read_content(ClipOpened, encode(ClipOpened(media=MEDIA_INFO)) + b"\x00")


def test_patches_outside_the_audio_are_refused() -> None:
    for starts in ([0, 0, 5], [-1, 0, 0], [0, 0, 2**62]):
        with pytest.raises(DecoderCrashed):
            read_changed_chunk(patch_starts=np.array(starts, np.int64))


@pytest.mark.parametrize("sample", [float("nan"), float("inf"), 1.5])
def test_audio_out_of_range_is_refused(sample: float) -> None:
    waveform = make_chunk().waveform.copy()
    waveform[100] = sample
    with pytest.raises(DecoderCrashed):
        read_changed_chunk(waveform=waveform)
