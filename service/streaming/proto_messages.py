"""Results as messages of the wire contract."""

from __future__ import annotations

from collections.abc import Iterable

from circumplex.v1 import annotation_pb2 as wire

from service.domain.clip import FaceBox
from service.domain.timeline import Estimate
from service.streaming.input.media_reader import MediaPosition


def track_to_proto(track: int, box: FaceBox | None, estimate: Estimate | None) -> wire.TrackResult:
    """One track in one frame."""
    return wire.TrackResult(
        track=track,
        box=None if box is None else _box_to_proto(box),
        missing_reason=(
            wire.MISSING_REASON_FACE_NOT_FOUND if box is None else wire.MISSING_REASON_UNSPECIFIED
        ),
        estimate=None if estimate is None else _estimate_to_proto(estimate),
    )


def frame_to_proto(
    index: int, time_seconds: float, tracks: Iterable[wire.TrackResult], *, is_final: bool
) -> wire.FrameResult:
    """One frame."""
    result = wire.FrameResult(
        index=index,
        time_seconds=time_seconds,
        is_final=is_final,
        tracks=tracks,
    )
    if not result.tracks:
        result.missing_reason = wire.MISSING_REASON_FACE_NOT_FOUND
    return result


def position_to_proto(position: MediaPosition) -> wire.MediaPosition:
    """How much has been sent."""
    return wire.MediaPosition(
        container_bytes=position.container_bytes,
        frames=position.frames,
        audio_samples=position.audio_samples,
    )


def _box_to_proto(box: FaceBox) -> wire.Box:
    return wire.Box(left=box.left, top=box.top, width=box.width, height=box.height, score=box.score)


def _estimate_to_proto(estimate: Estimate) -> wire.Estimate:
    return wire.Estimate(
        valence=estimate.valence,
        arousal=estimate.arousal,
        valence_std=estimate.valence_std,
        arousal_std=estimate.arousal_std,
        valence_smoothed=estimate.valence_smoothed,
        arousal_smoothed=estimate.arousal_smoothed,
    )
