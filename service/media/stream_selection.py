"""Which of a file's streams is looked at, and which is listened to."""

from __future__ import annotations

from collections.abc import Sequence

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from service.errors import ClipTruncated, ClipWithoutFrames, ClipWithoutVideo, MediaStreamUnknown
from service.media.clip_handles import ClipSource
from service.media.decoder_allowlist import VIDEO_DECODERS
from service.media.growing_file import GrowingFile
from service.media.truncation import has_clip_signature, lacks_index


def select_video_stream(
    container: InputContainer, clip: ClipSource | GrowingFile, stream_index: int | None = None
) -> VideoStream:
    """The stream wanted, or the first, as tools count that take a file's video 0.

    A cover picture is no video. Without a wish, streams that have no decoder, or none of whose
    pictures was found, come last.

    Args: wanted: its place among all streams of the file.
    Raises: ClipWithoutVideo, ClipTruncated, StreamUnknown: what is wanted is no video,
        ClipWithoutFrames: no decoder that is accepted for its codec.
    """
    moving = list_moving_streams(container)
    if not moving:
        raise ClipTruncated() if _is_empty(container, clip) else ClipWithoutVideo()
    if stream_index is not None:
        moving = [stream for stream in moving if stream.index == stream_index]
        if not moving:
            raise MediaStreamUnknown(f"Stream {stream_index} of the file is not a video")
    stream = next(filter(_is_decodable, moving), None)
    if stream is None:
        raise (
            ClipTruncated()
            if _lacks_index(clip)
            else ClipWithoutFrames(_describe_refused_codecs(moving))
        )
    return stream


def select_audio_stream(
    container: InputContainer, stream_index: int | None = None
) -> AudioStream | None:
    """The stream wanted, or FFmpeg's choice: by disposition, packets seen, then bit rate.

    Args: wanted: its place among all streams of the file.
    Raises: StreamUnknown: what is wanted is no sound.
    """
    if stream_index is not None:
        for stream in container.streams.audio:
            if stream.index == stream_index:
                return stream
        raise MediaStreamUnknown(f"Stream {stream_index} of the file is not sound")
    stream = container.streams.best("audio")
    return stream if isinstance(stream, AudioStream) else None


def list_moving_streams(container: InputContainer) -> list[VideoStream]:
    """Video streams that are no cover picture."""
    return [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]


def _is_decodable(stream: VideoStream) -> bool:
    context = stream.codec_context
    return bool(context and stream.width) and context.codec.name in VIDEO_DECODERS


def _describe_refused_codecs(streams: Sequence[VideoStream]) -> str | None:
    """What is said of streams none of which can be read."""
    refused = {
        stream.codec_context.codec.name
        for stream in streams
        if stream.codec_context and stream.codec_context.codec.name not in VIDEO_DECODERS
    }
    named = ", ".join(sorted(refused))
    return f"The video is coded as {named}, which is not accepted" if named else None


def _is_empty(container: InputContainer, clip: ClipSource | GrowingFile) -> bool:
    return not container.streams.audio and _lacks_index(clip)


def _lacks_index(clip: ClipSource | GrowingFile) -> bool:
    return has_clip_signature(clip) if isinstance(clip, GrowingFile) else lacks_index(clip)
