"""Requests of a stream as protobuf and responses back as events, for the stub gateway."""

from __future__ import annotations

from typing import cast

from circumplex.v1 import annotation_pb2 as pb

from service.domain.clip import Estimate, FaceBox
from service.domain.media import Flag
from service.domain.stream import ContainerStreamMedia, StreamAudio, StreamBytes, StreamFrame
from service.streaming.config import StreamRequest, StreamSessionConfig
from service.streaming.events import (
    MediaPosition,
    MediaReleased,
    SessionLimits,
    StreamCompleted,
    StreamDraining,
    StreamEvent,
    StreamOpened,
    StreamResult,
    TrackEstimate,
)
from tests.fake_estimators import make_manifest


def request_to_proto(request: StreamRequest) -> pb.StreamingAnnotateRequest:
    match request:
        case StreamSessionConfig():
            return pb.StreamingAnnotateRequest(config=_config_to_proto(request))
        case StreamBytes():
            return pb.StreamingAnnotateRequest(container=pb.ContainerChunk(data=request.data))
        case StreamFrame():
            frame = pb.VideoFrame(time_seconds=request.time_seconds, data=request.data)
            return pb.StreamingAnnotateRequest(frame=frame)
        case StreamAudio():
            audio = pb.AudioChunk(data=request.data, time_seconds=request.time_seconds)
            return pb.StreamingAnnotateRequest(audio=audio)


def _config_to_proto(config: StreamSessionConfig) -> pb.StreamConfig:
    if isinstance(config.media, ContainerStreamMedia):
        media = pb.StreamConfig(container=pb.ContainerMedia())
    else:
        media = pb.StreamConfig(frames=pb.FrameMedia())
    media.MergeFrom(pb.StreamConfig(resume_token=config.resume_token, model=config.model))
    return media


def response_to_event(response: pb.StreamingAnnotateResponse) -> StreamEvent:
    match response.WhichOneof("message"):
        case "config_ack":
            return _accepted(response.config_ack)
        case "frame_result":
            return _frame_result(response.frame_result)
        case "media_released":
            return MediaReleased(until=_position(response.media_released.until))
        case "draining":
            return StreamDraining(resume_token=response.draining.resume_token)
        case "summary":
            flags = cast(tuple[Flag, ...], tuple(response.summary.flags))
            return StreamCompleted(frames=response.summary.frames, flags=flags)
        case other:
            raise AssertionError(f"the stub gateway sends no {other}")


def _accepted(ack: pb.ConfigAck) -> StreamOpened:
    return StreamOpened(
        stream_id=ack.stream_id,
        limits=SessionLimits(
            message_bytes=ack.limits.message_bytes,
            frame_pixels=ack.limits.frame_pixels,
            stream_seconds=ack.limits.stream_seconds,
            buffered_results=ack.limits.buffered_results,
            waiting_frames=ack.limits.waiting_frames,
            resume_seconds=ack.limits.resume_seconds,
        ),
        send_from=_position(ack.send_from),
        next_final_index=ack.next_final_index,
        manifest=make_manifest(),
    )


def _frame_result(result: pb.FrameResult) -> StreamResult:
    return StreamResult(
        index=result.index,
        time_seconds=result.time_seconds,
        is_final=result.is_final,
        tracks=tuple(_track_result(track) for track in result.tracks),
        resume_token=result.resume_token,
    )


def _track_result(track: pb.TrackResult) -> TrackEstimate:
    box, estimate = track.box, track.estimate
    return TrackEstimate(
        track=track.track,
        box=FaceBox.of([box.left, box.top, box.width, box.height, box.score]),
        estimate=Estimate.of(
            [
                *(estimate.valence, estimate.arousal),
                *(estimate.valence_std, estimate.arousal_std),
                *(estimate.valence_smoothed, estimate.arousal_smoothed),
            ]
        ),
    )


def _position(position: pb.MediaPosition) -> MediaPosition:
    return MediaPosition(
        container_bytes=position.container_bytes,
        frames=position.frames,
        audio_samples=position.audio_samples,
    )
