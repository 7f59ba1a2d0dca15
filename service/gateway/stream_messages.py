"""Conversion between the protobuf messages of a stream and the service's own values.

Both transports use it: gRPC carries these messages, the WebSocket their JSON mapping.
"""

from __future__ import annotations

import time
from functools import singledispatch
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.clip import Estimate, FaceBox
from service.domain.estimator import EstimatorChoice, describe_model
from service.domain.options import FaceSelection
from service.domain.stream import (
    AudioFormat,
    ContainerStreamMedia,
    FrameEncoding,
    FrameStreamMedia,
    SampleEncoding,
    StreamAudio,
    StreamBytes,
    StreamFrame,
    StreamMedia,
)
from service.domain.uncertainty import StdMeaning
from service.errors import RequestInvalid, StreamOutOfOrder
from service.streaming.config import OverloadPolicy, StreamRequest, StreamSessionConfig
from service.streaming.events import (
    DroppedFrames,
    DropReason,
    LatencySummary,
    MediaPosition,
    MediaReleased,
    StreamCompleted,
    StreamDraining,
    StreamEvent,
    StreamOpened,
    StreamResult,
    TrackEstimate,
)

_FRAME_ENCODINGS: Final = {
    wire.FRAME_ENCODING_JPEG: FrameEncoding.JPEG,
    wire.FRAME_ENCODING_RGB24: FrameEncoding.RGB24,
    wire.FRAME_ENCODING_FACE_CROP: FrameEncoding.FACE_CROP,
}
_SAMPLE_ENCODINGS: Final = {
    wire.SAMPLE_ENCODING_S16LE: SampleEncoding.S16,
    wire.SAMPLE_ENCODING_F32LE: SampleEncoding.F32,
}
_FACE_SELECTIONS: Final = {
    wire.FACES_UNSPECIFIED: FaceSelection.PRIMARY,
    wire.FACES_PRIMARY: FaceSelection.PRIMARY,
    wire.FACES_ALL: FaceSelection.ALL,
}
_OVERLOAD_POLICIES: Final = {
    wire.OVERLOAD_POLICY_UNSPECIFIED: OverloadPolicy.BLOCK,
    wire.OVERLOAD_POLICY_BLOCK: OverloadPolicy.BLOCK,
    wire.OVERLOAD_POLICY_DROP_OLDEST: OverloadPolicy.DROP_OLDEST,
    wire.OVERLOAD_POLICY_FAIL: OverloadPolicy.FAIL,
}
STD_MEANINGS: Final = {
    StdMeaning.CALIBRATED: wire.STD_MEANING_CALIBRATED,
    StdMeaning.DISAGREEMENT: wire.STD_MEANING_DISAGREEMENT,
    StdMeaning.PUBLISHED_ERROR: wire.STD_MEANING_PUBLISHED_ERROR,
}
_DROP_REASONS: Final = {
    DropReason.OVERLOAD: wire.DROP_REASON_OVERLOAD,
    DropReason.UNREADABLE: wire.DROP_REASON_UNREADABLE,
}


def parse_request(request: wire.StreamingAnnotateRequest) -> StreamRequest:
    """Convert a request; media are stamped with the time of the call.

    Raises: RequestInvalid: a config with unknown values; StreamOutOfOrder: an empty request.
    """
    match request.WhichOneof("message"):
        case "config":
            return _parse_config(request.config)
        case "container":
            return StreamBytes(data=request.container.data, arrived_at=time.monotonic())
        case "frame":
            frame = request.frame
            return StreamFrame(
                time_seconds=frame.time_seconds, data=frame.data, arrived_at=time.monotonic()
            )
        case "audio":
            audio = request.audio
            seconds = audio.time_seconds if audio.HasField("time_seconds") else None
            return StreamAudio(data=audio.data, time_seconds=seconds)
        case _:
            raise StreamOutOfOrder("an empty message")


def event_to_proto(event: StreamEvent) -> wire.StreamingAnnotateResponse:
    """Convert an event to the response that carries it."""
    return _to_response(event)


def _parse_config(config: wire.StreamConfig) -> StreamSessionConfig:
    for name, known in (("faces", _FACE_SELECTIONS), ("overload_policy", _OVERLOAD_POLICIES)):
        if getattr(config, name) not in known:
            raise RequestInvalid(f"`{name}` has no value that is known", field=f"config.{name}")
    return StreamSessionConfig(
        media=_parse_media(config),
        faces=_FACE_SELECTIONS[config.faces],
        overload_policy=_OVERLOAD_POLICIES[config.overload_policy],
        final_results_only=config.final_results_only,
        resume_token=config.resume_token,
        model=parse_model("config.model", config.model),
    )


def parse_model(field: str, text: str) -> str | None:
    """Return a client's choice of a model; None: it makes none. Raises: RequestInvalid."""
    if not text:
        return None
    try:
        EstimatorChoice.parse(text)
    except ValueError as error:
        raise RequestInvalid(str(error), field=field) from error
    return text


def _parse_media(config: wire.StreamConfig) -> StreamMedia:
    match config.WhichOneof("media"):
        case "container":
            container = config.container
            return ContainerStreamMedia(
                video_stream=container.video_stream if container.HasField("video_stream") else None,
                audio_stream=container.audio_stream if container.HasField("audio_stream") else None,
            )
        case "frames":
            return _parse_frame_media(config.frames)
        case _:
            raise RequestInvalid(
                "the config names no media: `container` or `frames`", field="config.media"
            )


def _parse_frame_media(frames: wire.FrameMedia) -> FrameStreamMedia:
    encoding = _FRAME_ENCODINGS.get(frames.encoding)
    if encoding is None:
        raise RequestInvalid(
            "`frames.encoding` is missing or not known", field="config.frames.encoding"
        )
    return FrameStreamMedia(
        encoding=encoding,
        width=frames.width,
        height=frames.height,
        audio=_parse_audio_format(frames.audio) if frames.HasField("audio") else None,
    )


def _parse_audio_format(audio: wire.AudioFormat) -> AudioFormat:
    encoding = _SAMPLE_ENCODINGS.get(audio.encoding)
    if encoding is None:
        raise RequestInvalid(
            "`frames.audio.encoding` is missing or not known", field="config.frames.audio.encoding"
        )
    return AudioFormat(encoding=encoding, rate_hz=audio.sample_rate_hz, channels=audio.channels)


@singledispatch
def _to_response(event: object) -> wire.StreamingAnnotateResponse:
    raise TypeError(f"{type(event).__name__} is no event of a stream")


@_to_response.register
def _(event: StreamOpened) -> wire.StreamingAnnotateResponse:
    limits = event.limits
    accepted = wire.ConfigAck(
        stream_id=event.stream_id,
        limits=wire.Limits(
            message_bytes=limits.message_bytes,
            frame_pixels=limits.frame_pixels,
            stream_seconds=limits.stream_seconds,
            buffered_results=limits.buffered_results,
            waiting_frames=limits.waiting_frames,
            resume_seconds=limits.resume_seconds,
        ),
        send_from=_position_to_proto(event.send_from),
        next_final_index=event.next_final_index,
        weights_sha256=event.manifest.weights_sha256,
        std_meaning=STD_MEANINGS[event.manifest.uncertainty.meaning],
        model=str(event.manifest.id),
        domain=event.manifest.domain,
        flags=sorted(event.manifest.flags),
        classes=event.manifest.classes,
        model_summary=describe_model(event.manifest),
    )
    return wire.StreamingAnnotateResponse(config_ack=accepted)


@_to_response.register
def _(event: StreamResult) -> wire.StreamingAnnotateResponse:
    result = wire.FrameResult(
        index=event.index,
        time_seconds=event.time_seconds,
        is_final=event.is_final,
        tracks=[_track_to_proto(each) for each in event.tracks],
        missing_reason=_missing_reason(is_missing=not event.tracks),
        resume_token=event.resume_token,
    )
    return wire.StreamingAnnotateResponse(frame_result=result)


@_to_response.register
def _(event: DroppedFrames) -> wire.StreamingAnnotateResponse:
    dropped = wire.FramesDropped(
        first_index=event.first_index,
        count=event.count,
        reason=_DROP_REASONS[event.reason],
        time_seconds=event.time_seconds,
    )
    return wire.StreamingAnnotateResponse(frames_dropped=dropped)


@_to_response.register
def _(event: MediaReleased) -> wire.StreamingAnnotateResponse:
    released = wire.MediaReleased(until=_position_to_proto(event.until))
    return wire.StreamingAnnotateResponse(media_released=released)


@_to_response.register
def _(event: StreamDraining) -> wire.StreamingAnnotateResponse:
    return wire.StreamingAnnotateResponse(draining=wire.Draining(resume_token=event.resume_token))


@_to_response.register
def _(event: StreamCompleted) -> wire.StreamingAnnotateResponse:
    summary = wire.StreamSummary(
        frames=event.frames,
        frames_dropped=event.frames_dropped,
        primary_track=event.primary_track or 0,
        dropped_tracks=event.dropped_tracks,
        flags=event.flags,
        latency=None if event.latency is None else _latency_to_proto(event.latency),
        modalities_used=event.modalities_used,
    )
    return wire.StreamingAnnotateResponse(summary=summary)


def _latency_to_proto(latency: LatencySummary) -> wire.LatencySummary:
    return wire.LatencySummary(
        p50_seconds=latency.p50_seconds,
        p95_seconds=latency.p95_seconds,
        p99_seconds=latency.p99_seconds,
    )


def _position_to_proto(position: MediaPosition) -> wire.MediaPosition:
    return wire.MediaPosition(
        container_bytes=position.container_bytes,
        frames=position.frames,
        audio_samples=position.audio_samples,
    )


def _track_to_proto(result: TrackEstimate) -> wire.TrackResult:
    return wire.TrackResult(
        track=result.track,
        box=None if result.box is None else _box_to_proto(result.box),
        missing_reason=_missing_reason(is_missing=result.box is None),
        estimate=None if result.estimate is None else _estimate_to_proto(result.estimate),
        class_probabilities=result.class_probabilities,
    )


def _missing_reason(*, is_missing: bool) -> wire.MissingReason:
    return wire.MISSING_REASON_FACE_NOT_FOUND if is_missing else wire.MISSING_REASON_UNSPECIFIED


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
