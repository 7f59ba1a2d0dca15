"""What a client asks of its stream, read from its first message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from circumplex.v1 import annotation_pb2 as wire

from service.domain.options import FaceSelection
from service.domain.stream import (
    AudioFormat,
    ContainerStreamMedia,
    FrameEncoding,
    FrameStreamMedia,
    SampleEncoding,
    StreamMedia,
)
from service.errors import ClipTooManyPixels, RequestInvalid
from service.settings import Settings

MAX_CHANNELS: Final = 8
MIN_RATE_HZ: Final = 1_000
MAX_RATE_HZ: Final = 768_000

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


class OverloadPolicy(StrEnum):
    """What happens when frames come faster than they are dealt with."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    FAIL = "fail"


_OVERLOAD_POLICIES: Final = {
    wire.OVERLOAD_POLICY_UNSPECIFIED: OverloadPolicy.BLOCK,
    wire.OVERLOAD_POLICY_BLOCK: OverloadPolicy.BLOCK,
    wire.OVERLOAD_POLICY_DROP_OLDEST: OverloadPolicy.DROP_OLDEST,
    wire.OVERLOAD_POLICY_FAIL: OverloadPolicy.FAIL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSessionConfig:
    """The choices for one stream. resume_token: empty for a new one."""

    media: StreamMedia
    faces: FaceSelection = FaceSelection.PRIMARY
    overload_policy: OverloadPolicy = OverloadPolicy.BLOCK
    final_results_only: bool = False
    resume_token: str = ""


def parse_stream_config(config: wire.StreamConfig, settings: Settings) -> StreamSessionConfig:
    """What a config says.

    Raises: RequestInvalid, ClipTooManyPixels.
    """
    for name, known in (("faces", _FACE_SELECTIONS), ("overload_policy", _OVERLOAD_POLICIES)):
        if getattr(config, name) not in known:
            raise RequestInvalid(f"`{name}` has no value that is known", field=f"config.{name}")
    media = _parse_media(config, settings)
    overload = _OVERLOAD_POLICIES[config.overload_policy]
    if overload is OverloadPolicy.DROP_OLDEST and isinstance(media, ContainerStreamMedia):
        raise RequestInvalid(
            "OVERLOAD_POLICY_DROP_OLDEST is for single frames, not a container",
            field="config.overload_policy",
        )
    return StreamSessionConfig(
        media=media,
        faces=_FACE_SELECTIONS[config.faces],
        overload_policy=overload,
        final_results_only=config.final_results_only,
        resume_token=config.resume_token,
    )


def _parse_media(config: wire.StreamConfig, settings: Settings) -> StreamMedia:
    match config.WhichOneof("media"):
        case "container":
            said = config.container
            return ContainerStreamMedia(
                video_stream=said.video_stream if said.HasField("video_stream") else None,
                audio_stream=said.audio_stream if said.HasField("audio_stream") else None,
            )
        case "frames":
            return _parse_frames(config.frames, settings)
        case _:
            raise RequestInvalid(
                "the config names no media: `container` or `frames`", field="config.media"
            )


def _parse_frames(frames: wire.FrameMedia, settings: Settings) -> FrameStreamMedia:
    encoding = _FRAME_ENCODINGS.get(frames.encoding)
    if encoding is None:
        raise RequestInvalid(
            "`frames.encoding` is missing or not known", field="config.frames.encoding"
        )
    if encoding is FrameEncoding.RGB24:
        if not frames.width or not frames.height:
            raise RequestInvalid(
                "FRAME_ENCODING_RGB24 needs `width` and `height`", field="config.frames.width"
            )
        pixels = frames.width * frames.height
        if pixels > settings.max_frame_pixels or 3 * pixels > settings.max_stream_message_bytes:
            raise ClipTooManyPixels()
    elif frames.width or frames.height:
        raise RequestInvalid(
            "`width` and `height` are for FRAME_ENCODING_RGB24 alone", field="config.frames.width"
        )
    sound = _parse_audio_format(frames.audio) if frames.HasField("audio") else None
    return FrameStreamMedia(
        encoding=encoding, width=frames.width, height=frames.height, sound=sound
    )


def _parse_audio_format(audio: wire.AudioFormat) -> AudioFormat:
    encoding = _SAMPLE_ENCODINGS.get(audio.encoding)
    if encoding is None:
        raise RequestInvalid(
            "`frames.audio.encoding` is missing or not known", field="config.frames.audio.encoding"
        )
    if not MIN_RATE_HZ <= audio.sample_rate_hz <= MAX_RATE_HZ:
        raise RequestInvalid(
            f"`sample_rate_hz` must be from {MIN_RATE_HZ} to {MAX_RATE_HZ}",
            field="config.frames.audio.sample_rate_hz",
        )
    if not 1 <= audio.channels <= MAX_CHANNELS:
        raise RequestInvalid(
            f"`channels` must be from 1 to {MAX_CHANNELS}", field="config.frames.audio.channels"
        )
    return AudioFormat(encoding=encoding, rate_hz=audio.sample_rate_hz, channels=audio.channels)
