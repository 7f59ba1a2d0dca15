"""Demuxing: opens a clip with allow-listed demuxers and decoders, and decodes its streams.

FFmpeg opens other files and hosts from inside a file (playlists, concatenations, data
references), so neither those demuxers nor any protocol but the clip's own handle is reachable.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import av
import av.logging as libav_log
from av.container import Flags, InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from service.errors import ClipNotMedia, ClipTooManyPixels, ClipTruncated
from service.media.clip_handles import ClipSource, open_handle
from service.media.growing_file import GrowingFile
from service.media.still_pictures import refuse_still_picture
from service.media.truncation import has_clip_signature, lacks_index, refuse_late_index

FrameT_co = TypeVar("FrameT_co", covariant=True)

VIDEO_FORMATS: Final = (
    "mov",
    "matroska",
    "mpegts",
    "avi",
    "flv",
    "mpeg",
    "asf",
    "ogg",
    "dv",
    "mxf",
)
AUDIO_FORMATS: Final = ("wav", "mp3", "flac", "aac")
"""Opened only so that the error for an audio file is ClipWithoutVideo, not ClipNotMedia."""

# Decoders for what cameras, phones, editors and the web write. FFmpeg has some five hundred, many
# of them for the files of old games, hardly ever fuzzed or used.
_VIDEO_DECODERS: Final = """
    h264 hevc vvc av1 libdav1d vp6 vp6a vp6f vp8 vp9 libvpx libvpx-vp9 theora
    mpeg1video mpeg2video mpegvideo mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4 h261 h263 h263i h263p flv
    wmv1 wmv2 wmv3 vc1 svq1 svq3 cinepak indeo3 indeo5 rpza qtrle 8bps msrle msvideo1
    mjpeg mjpegb jpeg2000 png rawvideo v210 v308 v408 v410 yuv4 r210 r10k
    prores prores_raw dnxhd cfhd dvvideo ffv1 ffvhuff huffyuv utvideo magicyuv lagarith hap
"""
_AUDIO_DECODERS: Final = """
    aac aac_latm mp1 mp1float mp2 mp2float mp3 mp3float ac3 eac3 dca truehd mlp
    opus libopus vorbis flac alac speex wavpack tta
    amrnb amrwb libopencore_amrnb libopencore_amrwb gsm gsm_ms g722 g726 g726le nellymoser
    wmav1 wmav2 wmapro wmalossless wmavoice qdm2 qdmc dvaudio s302m
    pcm_alaw pcm_mulaw pcm_bluray pcm_dvd pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_lxf
    pcm_s16be pcm_s16be_planar pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar
    pcm_s32be pcm_s32le pcm_s32le_planar pcm_s8 pcm_s8_planar
    pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8
    adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha
"""
VIDEO_DECODERS: Final = frozenset(_VIDEO_DECODERS.split())
AUDIO_DECODERS: Final = frozenset(_AUDIO_DECODERS.split())

_CONTAINER_OPTIONS: Final = {
    "format_whitelist": ",".join(VIDEO_FORMATS + AUDIO_FORMATS),
    "codec_whitelist": ",".join(sorted(VIDEO_DECODERS | AUDIO_DECODERS)),
    "protocol_whitelist": "fd",
    "enable_drefs": "0",
    "max_streams": "256",
}
_TAG_ERRORS: Final = "replace"
"""Tags are often in a local encoding: bytes that are not UTF-8 become U+FFFD."""
_STREAMABLE_FORMATS: Final = ",".join(
    name for name in VIDEO_FORMATS + AUDIO_FORMATS if name != "mxf"
)
"""Containers readable while they arrive: not MXF, which stores its frames' times at its end."""
_OVERSIZE_MESSAGE: Final = re.compile(r"Picture size \d+x\d+ (exceeds|is invalid)")
"""FFmpeg's log message; the stream is then reported as one of unknown size."""
_MAX_FAILED_READS: Final = 1000
"""Consecutive failed reads after which the rest of a damaged file is skipped."""


@contextlib.contextmanager
def open_container(clip: ClipSource, max_pixels: int | None = None) -> Generator[InputContainer]:
    """Open a clip as one of the allowed containers.

    Args: max_pixels: limit on the pictures that FFmpeg decodes while it probes the streams.
    Raises: ClipNotMedia, ClipTruncated; ClipTooManyPixels: every probed picture is too large.
    """
    refuse_still_picture(clip)
    probing = {} if max_pixels is None else {"max_pixels": str(max_pixels)}
    try:
        # FFmpeg duplicates the handle
        with open_handle(clip) as handle, _captured_ffmpeg_log() as log_messages:
            options = {**_CONTAINER_OPTIONS, "fd": str(handle)}
            container = av.open(
                "fd:", options=probing, container_options=options, metadata_errors=_TAG_ERRORS
            )
    except FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise ClipTruncated() if lacks_index(clip) else ClipNotMedia() from error
    with container:
        _check_picture_sizes(container, log_messages)
        yield container


@contextlib.contextmanager
def open_growing_file(
    file: GrowingFile, max_pixels: int, options: Mapping[str, str] | None = None
) -> Generator[InputContainer]:
    """Open a clip that is still arriving; the file must have no other reader.

    Args: options: demuxer options beyond those that every clip has.
    Raises: ClipNotMedia, ClipTruncated, ClipTooManyPixels.
    """
    refuse_late_index(file)
    refuse_still_picture(file)
    try:
        with _captured_ffmpeg_log() as log_messages:
            container = av.open(
                file,
                mode="r",
                options={"max_pixels": str(max_pixels)},
                container_options={
                    **_CONTAINER_OPTIONS,
                    "format_whitelist": _STREAMABLE_FORMATS,
                    **(options or {}),
                },
                metadata_errors=_TAG_ERRORS,
            )
    except FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        raise ClipTruncated() if has_clip_signature(file) else ClipNotMedia() from error
    with container:
        _check_picture_sizes(container, log_messages)
        yield container


def _check_picture_sizes(
    container: InputContainer, log_messages: Sequence[tuple[int, str, str]]
) -> None:
    has_probed = any(_is_probed(stream) for stream in container.streams.video)
    if not has_probed and any(_OVERSIZE_MESSAGE.search(text) for *_, text in log_messages):
        raise ClipTooManyPixels()


def _is_probed(stream: VideoStream) -> bool:
    """Check whether FFmpeg knows the size and pixel format of a stream's pictures."""
    return bool(stream.codec_context and stream.width and stream.codec_context.pix_fmt)


@contextlib.contextmanager
def _captured_ffmpeg_log() -> Generator[list[tuple[int, str, str]]]:
    """Capture FFmpeg's errors on this thread until exit, as (level, component, message)."""
    level = libav_log.get_level()
    libav_log.set_level(libav_log.ERROR)
    try:
        with libav_log.Capture(local=True) as log_messages:
            yield log_messages
    finally:
        libav_log.set_level(level)


class _DecodableStream(Protocol[FrameT_co]):
    """A VideoStream or an AudioStream."""

    def decode(self, packet: Packet[Any] | None = None, /) -> Sequence[FrameT_co]:
        """Frames that a packet completes; an empty packet flushes the decoder."""
        ...


class StreamDecoder(Generic[FrameT_co]):
    """Iterates once over the decoded frames of a stream, past damaged packets and failed reads."""

    def __init__(self, container: InputContainer, stream: _DecodableStream[FrameT_co]) -> None:
        """Decode a stream of a container that has no other reader."""
        self._container = container
        self._stream = stream
        self.bad_packets = 0
        """Failed reads, packets marked as damaged, and packets that failed to decode, so far."""
        self.failed_packets = 0
        """Packets that failed to decode, so far."""

    def __iter__(self) -> Iterator[FrameT_co]:
        for packet in read_packets(self._container, [self._stream], self.count_failed_read):
            yield from self.decode(packet)
        flush: Packet[Stream] = Packet()
        yield from self.decode(flush)

    def count_failed_read(self) -> None:
        """Count a read of the container that failed."""
        self.bad_packets += 1

    def decode(self, packet: Packet[Stream]) -> Sequence[FrameT_co]:
        """Decode the frames that a packet of the stream completes; none if it is damaged."""
        self.bad_packets += packet.is_corrupt
        try:
            return self._stream.decode(packet)
        except EndOfFile:
            return ()
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            self.bad_packets += 1
            self.failed_packets += 1
            return ()


def read_packets(
    container: InputContainer, streams: Sequence[Any], on_failed_read: Callable[[], None]
) -> Iterator[Packet[Stream]]:
    """Yield the packets of some streams of a container that has no other reader.

    Reads that fail are passed over. At the end an empty packet flushes each decoder; one in between
    means "as before" to some codecs, and would flush others: it is left out.
    """
    # PyAV lets FFmpeg generate presentation times, which breaks those of reordered frames
    container.flags &= ~Flags.gen_pts.value
    failures = 0
    while failures < _MAX_FAILED_READS:
        try:
            for packet in container.demux(*streams):
                failures = 0
                if packet.size or packet.dts is None:
                    yield packet
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            on_failed_read()
            failures += 1
        else:
            return
