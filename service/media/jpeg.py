"""Single JPEG pictures, decoded like the frames of a Motion-JPEG clip."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from service.domain.planar_picture import PlanarPicture
from service.errors import ClipTooManyPixels
from service.media.conversion import PictureConverter
from service.media.frame_format import (
    FrameFormat,
    compute_display_size,
    is_bottom_field_first,
    read_frame_format,
)
from service.media.orientation import OrientationReader

_JPEG_MAGIC: Final = b"\xff\xd8"
_SIZE_MARKERS: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Second bytes of the start-of-frame markers, which hold the picture's size."""
_MARKER_PREFIX: Final = 0xFF


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureShape:
    """Properties of a picture that boxes in displayed pixels depend on."""

    width: int
    height: int
    aspect: str
    rotation_degrees: int
    mirrored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JpegReaderSnapshot:
    """State of a JpegReader. shape: of the last picture."""

    shape: PictureShape | None
    failures: int
    corrupt: int
    interlaced: int
    size_changes: int


class JpegReader:
    """Decodes single JPEGs.

    failures: pictures that could not be decoded. corrupt, interlaced, size_changes: anomalies
    among the decoded ones.
    """

    def __init__(self, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._converter = PictureConverter(threads=1)
        self._orientations = OrientationReader()
        context = CodecContext.create("mjpeg", "r")
        context.thread_count = 1
        # as for clips: decoders allocate padded pictures
        context.options = {"max_pixels": str(2 * max_pixels)}
        self._context = context
        self._shape: PictureShape | None = None
        self.failures = self.corrupt = self.interlaced = self.size_changes = 0

    def read(self, data: bytes) -> PlanarPicture | None:
        """Decode to a picture as displayed; None: it cannot be decoded.

        Raises: ClipTooManyPixels.
        """
        width, height = read_jpeg_size(data) or (0, 0)
        if width * height > self._max_pixels:
            raise ClipTooManyPixels()
        try:
            frame = self._decode(data)
            picture = None if frame is None else self._convert(frame)
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            picture = None
        self.failures += picture is None
        return picture

    def snapshot(self) -> JpegReaderSnapshot:
        """Return the counts so far."""
        return JpegReaderSnapshot(
            shape=self._shape,
            failures=self.failures,
            corrupt=self.corrupt,
            interlaced=self.interlaced,
            size_changes=self.size_changes,
        )

    def restore(self, snapshot: JpegReaderSnapshot) -> None:
        """Continue from a snapshot."""
        self._shape = snapshot.shape
        self.failures, self.corrupt = snapshot.failures, snapshot.corrupt
        self.interlaced, self.size_changes = snapshot.interlaced, snapshot.size_changes

    def _decode(self, data: bytes) -> VideoFrame | None:
        if not data:  # would flush the decoder
            return None
        frames = self._context.decode(Packet(data))  # pyright: ignore[reportUnknownMemberType]  # PyAV leaves Packet's parameter open
        return next(iter(frames), None)

    def _convert(self, frame: VideoFrame) -> PlanarPicture:
        frame_format = read_frame_format(frame, self._context, None, self._orientations)
        width, height = compute_display_size(
            frame_format.width, frame_format.height, frame_format.aspect, frame_format.orientation
        )
        if max(width * height, frame_format.width * frame_format.height) > self._max_pixels:
            raise ClipTooManyPixels()
        bottom_first = frame.interlaced_frame and is_bottom_field_first(self._context)
        picture = self._converter.convert(frame, frame_format, bottom_first=bottom_first)
        self._record_shape(frame_format)
        self.corrupt += frame.is_corrupt
        self.interlaced += frame.interlaced_frame
        return picture

    def _record_shape(self, frame_format: FrameFormat) -> None:
        shape = PictureShape(
            width=frame_format.width,
            height=frame_format.height,
            aspect=str(frame_format.aspect),
            rotation_degrees=frame_format.orientation.degrees,
            mirrored=frame_format.orientation.mirrored,
        )
        self.size_changes += self._shape not in (None, shape)
        self._shape = shape


def read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the headers of a JPEG; None: no JPEG or no size."""
    if not data.startswith(_JPEG_MAGIC):
        return None
    place = len(_JPEG_MAGIC)
    while place + 9 <= len(data) and data[place] == _MARKER_PREFIX:
        kind = data[place + 1]
        if kind == _MARKER_PREFIX:  # padding
            place += 1
            continue
        if kind in _SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
