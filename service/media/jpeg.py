"""Pictures that come by themselves, each a JPEG, read as frames of a Motion-JPEG clip are."""

from __future__ import annotations

import struct
from typing import Final

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from service.domain.array_types import UInt8Array
from service.domain.snapshot_codec import State
from service.errors import ClipTooManyPixels
from service.media.conversion import RgbConverter
from service.media.frame_format import FrameFormat, is_bottom_field_first, read_frame_format
from service.media.orientation import compute_display_size, to_display

_COUNTS: Final = ("failures", "corrupt", "interlaced", "size_changes")
_JPEG_MAGIC: Final = b"\xff\xd8"
_SIZE_MARKERS: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The second bytes of the markers that a picture's size follows."""


class JpegReader:
    """Decodes single JPEGs.

    failures: how many could not be. corrupt, interlaced, size_changes: of those that could.
    """

    def __init__(self, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._converter = RgbConverter(threads=1)
        context = CodecContext.create("mjpeg", "r")
        context.thread_count = 1
        # as for clips: the decoder pads what it allocates
        context.options = {"max_pixels": str(2 * max_pixels)}
        self._context = context
        self._shape: list[int | str | bool] = []
        self.failures = self.corrupt = self.interlaced = self.size_changes = 0

    def read(self, data: bytes) -> UInt8Array | None:
        """The (H, W, 3) RGB picture as displayed; None: it cannot be decoded.

        Raises: ClipTooManyPixels.
        """
        width, height = read_jpeg_size(data) or (0, 0)
        if width * height > self._max_pixels:
            raise ClipTooManyPixels()
        try:
            frame = self._decode(data)
            pixels = None if frame is None else self._convert(frame)
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            pixels = None
        self.failures += pixels is None
        return pixels

    def save(self) -> State:
        """What is odd so far."""
        return {"shape": self._shape, **{name: getattr(self, name) for name in _COUNTS}}

    def restore(self, state: State) -> None:
        """Count on."""
        self._shape = state["shape"]
        for name in _COUNTS:
            setattr(self, name, state[name])

    def _decode(self, data: bytes) -> VideoFrame | None:
        if not data:  # would flush the decoder
            return None
        return next(iter(self._context.decode(Packet(data))), None)

    def _convert(self, frame: VideoFrame) -> UInt8Array:
        frame_format = read_frame_format(frame, self._context, None)
        width, height = compute_display_size(
            frame_format.width, frame_format.height, frame_format.aspect, frame_format.orientation
        )
        if max(width * height, frame_format.width * frame_format.height) > self._max_pixels:
            raise ClipTooManyPixels()
        bottom_first = frame.interlaced_frame and is_bottom_field_first(self._context)
        coded = self._converter.to_rgb(frame, bottom_first=bottom_first)
        self._record_shape(frame_format)
        self.corrupt += frame.is_corrupt
        self.interlaced += frame.interlaced_frame
        return to_display(coded, frame_format.aspect, frame_format.orientation)

    def _record_shape(self, frame_format: FrameFormat) -> None:
        orientation = frame_format.orientation
        shape: list[int | str | bool] = [
            frame_format.width,
            frame_format.height,
            str(frame_format.aspect),
            orientation.degrees,
            orientation.mirrored,
        ]
        self.size_changes += bool(self._shape) and shape != self._shape
        self._shape = shape


def read_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the headers of a JPEG; None: it is none."""
    if not data.startswith(_JPEG_MAGIC):
        return None
    place = len(_JPEG_MAGIC)
    while place + 9 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind == 0xFF:  # padding
            place += 1
            continue
        if kind in _SIZE_MARKERS:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
