"""Encoding of checkpoints and of the events stored beside them."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from service.domain.clip import Estimate, FaceBox, Frame, TimelinePoint, TrackedFace
from service.domain.estimator import Modality
from service.domain.media import Flag
from service.domain.options import FaceSelection
from service.errors import StreamExpired
from service.pipeline.estimation import EstimationParameters
from service.serialization import encode
from service.settings import Settings
from service.streaming.events import (
    DroppedFrames,
    DropReason,
    MediaPosition,
    StoredEvent,
    StreamCompleted,
    StreamResult,
    TrackEstimate,
)
from service.streaming.resume.checkpoint import (
    FinalCheckpoint,
    decode_checkpoint,
    decode_event,
    encode_checkpoint,
    encode_event,
    server_config_hash,
)
from service.streaming.stages.final import FrameArrival, FrameResultAssembler

BOX = FaceBox.of([0.1 + 0.2, -0.0, 5e-324, 1e300, 0.9])
ESTIMATE = Estimate.of([1 / 3, -2 / 3, 0.1, 0.2, 1e-9, -1.0])
EVENTS: list[StoredEvent] = [
    StreamResult(index=0, time_seconds=0.0, is_final=True),
    StreamResult(
        index=2**40,
        time_seconds=-1 / 25,
        is_final=True,
        tracks=(
            TrackEstimate(
                track=1, box=BOX, estimate=ESTIMATE, class_probabilities=(0.25, 1 / 3, 0.0)
            ),
            TrackEstimate(track=2, box=None, estimate=None),
        ),
        resume_token="a.1",
    ),
    DroppedFrames(first_index=3, count=2, reason=DropReason.UNREADABLE, time_seconds=0.12),
]
FINAL_CHECKPOINT = FinalCheckpoint(
    position=MediaPosition(frames=7),
    last_final_index=6,
    summary=StreamCompleted(
        frames=7,
        dropped_tracks=(3,),
        flags=(Flag.NO_AUDIO,),
        modalities_used=(Modality.FACE,),
    ),
)


@pytest.mark.parametrize("event", EVENTS)
def test_stored_events_keep_every_bit(event: StoredEvent) -> None:
    assert repr(decode_event(encode_event(event))) == repr(event)


def test_final_checkpoint_is_restored() -> None:
    assert decode_checkpoint(encode_checkpoint(FINAL_CHECKPOINT)) == FINAL_CHECKPOINT


def test_truncated_or_foreign_bytes_expire_the_stream() -> None:
    checkpoint, event = encode_checkpoint(FINAL_CHECKPOINT), encode_event(EVENTS[1])
    for data in (b"", checkpoint[:-1], checkpoint + b"x", event, b"\x80"):
        with pytest.raises(StreamExpired):
            decode_checkpoint(data)
    for data in (b"", event[:-1], event + b"x", checkpoint, b"\x92\xc0\xc0"):
        with pytest.raises(StreamExpired):
            decode_event(data)


def test_events_of_the_format_before_class_probabilities_expire_the_stream() -> None:
    track = (1, astuple(BOX), astuple(ESTIMATE))
    for fields in ((track,), ((*track, (0.5,)), track)):
        event = encode(((0, 0.0, True, fields, "a.1"), None))
        with pytest.raises(StreamExpired):
            decode_event(event)


def test_checkpoints_of_gateways_with_other_classes_are_not_shared() -> None:
    settings = Settings()
    hashes = {
        server_config_hash(settings, EstimationParameters(class_count=classes), {"fusion": "ab"})
        for classes in (0, 7, 8)
    }
    assert len(hashes) == 3


def test_restored_assembler_gives_the_same_results() -> None:
    frames = [
        Frame(index=index, time_seconds=index / 25, faces=(TrackedFace(track=1, box=BOX),))
        for index in range(5, 9)
    ]
    assembler = FrameResultAssembler(FaceSelection.ALL)
    for frame in frames[1:]:
        assembler.add_frame(FrameArrival(frame=frame, index=2 * frame.index, arrived_at=1.0))
    for frame in frames[1:3]:
        classes = (0.25, 0.75) if frame.index % 2 else ()
        assembler.add_point(
            TimelinePoint(track=1, frame=frame, estimate=ESTIMATE, class_probabilities=classes)
        )
    assembler.add_point(TimelinePoint(track=2, frame=frames[2], estimate=None))
    restored = FrameResultAssembler.from_snapshot(
        assembler.snapshot(), faces=FaceSelection.ALL, latest_frames=frames
    )
    settled = [*restored.pop_settled(9, 1)]
    assert [result for _, result in settled] == [
        result for _, result in assembler.pop_settled(9, 1)
    ]
    assert [arrival.arrived_at for arrival, _ in settled] == [None] * 3
