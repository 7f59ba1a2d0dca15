"""Selection of the video stream and the audio stream of a file."""

from __future__ import annotations

from collections.abc import Sequence

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from service.errors import ClipTruncated, ClipWithoutFrames, ClipWithoutVideo, MediaStreamUnknown
from service.media.clip_handles import ClipSource
from service.media.demux import AUDIO_DECODERS, VIDEO_DECODERS
from service.media.encryption import refuse_encrypted
from service.media.growing_file import GrowingFile
from service.media.truncation import has_clip_signature, lacks_index


def select_video_stream(
    container: InputContainer, clip: ClipSource | GrowingFile, stream_index: int | None = None
) -> VideoStream:
    """Select the requested video stream, else the first that can be decoded.

    Cover pictures and still pictures beside a video do not count as video.

    Args: stream_index: index among all streams of the file.
    Raises: ClipWithoutVideo, ClipTruncated; MediaStreamUnknown: the requested stream is no video;
        ClipWithoutFrames: no accepted decoder for its codec; ClipEncrypted.
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
    refuse_encrypted(container, stream, clip)
    return stream


def select_audio_stream(
    container: InputContainer, stream_index: int | None = None
) -> AudioStream | None:
    """Select the requested audio stream, else the best-placed that has a decoder.

    Args: stream_index: index among all streams of the file.
    Returns: the best-placed if none has a decoder; None: the file has no audio.
    Raises: MediaStreamUnknown: the requested stream is no audio.
    """
    ranked = rank_audio_streams(container, stream_index)
    return next(filter(has_audio_decoder, ranked), ranked[0] if ranked else None)


def rank_audio_streams(
    container: InputContainer, stream_index: int | None = None
) -> list[AudioStream]:
    """Return the requested audio stream, else all, the best-placed first.

    That is FFmpeg's choice (by disposition, packets, bit rate), and the rest by disposition and bit
    rate. FFmpeg leaves streams aside that it cannot make out: they stay where they are placed.

    Args: stream_index: index among all streams of the file.
    Raises: MediaStreamUnknown: the requested stream is no audio.
    """
    streams = list(container.streams.audio)
    if stream_index is not None:
        requested = [stream for stream in streams if stream.index == stream_index]
        if not requested:
            raise MediaStreamUnknown(f"Stream {stream_index} of the file is not audio")
        return requested
    best = container.streams.best("audio")
    if not isinstance(best, AudioStream):
        return sorted(streams, key=_rank_audio)
    aside = [
        stream
        for stream in streams
        if not _is_made_out(stream) and _rank_audio(stream) < _rank_audio(best)
    ]
    rest = [stream for stream in streams if stream is not best and stream not in aside]
    return [*sorted(aside, key=_rank_audio), best, *sorted(rest, key=_rank_audio)]


def has_audio_decoder(stream: AudioStream) -> bool:
    """Check whether there is an accepted decoder for an audio stream."""
    context = stream.codec_context
    return bool(context) and context.codec.name in AUDIO_DECODERS


def _rank_audio(stream: AudioStream) -> tuple[bool, bool, int, int]:
    """Rank a stream by its place; the lowest is the best-placed."""
    impaired = Disposition.hearing_impaired | Disposition.visual_impaired
    is_default = bool(stream.disposition & Disposition.default)
    context = stream.codec_context
    bit_rate = (context.bit_rate or 0) if context and _is_made_out(stream) else 2**62
    return bool(stream.disposition & impaired), not is_default, -bit_rate, stream.index


def _is_made_out(stream: AudioStream) -> bool:
    context = stream.codec_context
    return bool(context) and bool(context.sample_rate and context.channels)


def list_moving_streams(container: InputContainer) -> list[VideoStream]:
    """Video streams other than cover pictures and the picture items of HEIF files."""
    return [
        stream
        for stream in container.streams.video
        if not stream.disposition & Disposition.attached_pic
        and not (container.format.name.startswith("mov") and _is_item(stream))
    ]


def _is_item(stream: VideoStream) -> bool:
    """Check whether FFmpeg made a stream of a picture item, which has no times of its own."""
    return stream.time_base == 1 and stream.frames == 1 and stream.duration is None


def _is_decodable(stream: VideoStream) -> bool:
    context = stream.codec_context
    return bool(context and stream.width) and context.codec.name in VIDEO_DECODERS


def _describe_refused_codecs(streams: Sequence[VideoStream]) -> str | None:
    """Error detail for streams that have no accepted decoder; None: the codec is not the cause."""
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
