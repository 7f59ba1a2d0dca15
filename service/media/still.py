"""Pictures that come by themselves, each a JPEG, read as frames of a Motion-JPEG clip are."""

from __future__ import annotations

import struct
from typing import Final

from av.codec.context import CodecContext
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from service.domain.arrays import Bytes
from service.domain.state import State
from service.errors import ClipTooManyPixels
from service.media.conversion import Converter
from service.media.display import show, shown_size
from service.media.look import Look, read_look, shows_bottom_first

_COUNTS: Final = ("failures", "corrupt", "interlaced", "size_changes")
_START: Final = b"\xff\xd8"
_SIZES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The second bytes of the markers that a picture's size follows."""


class StillReader:
    """Decodes single JPEGs.

    failures: how many could not be. corrupt, interlaced, size_changes: of those that could.
    """

    def __init__(self, *, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._converter = Converter(threads=1)
        context = CodecContext.create("mjpeg", "r")
        context.thread_count = 1
        # as for clips: the decoder pads what it allocates
        context.options = {"max_pixels": str(2 * max_pixels)}
        self._context = context
        self._shape: list[int | str | bool] = []
        self.failures = self.corrupt = self.interlaced = self.size_changes = 0

    def read(self, data: bytes) -> Bytes | None:
        """The (H, W, 3) RGB picture as displayed; None: it cannot be decoded.

        Raises: ClipTooManyPixels.
        """
        width, height = jpeg_size(data) or (0, 0)
        if width * height > self._max_pixels:
            raise ClipTooManyPixels()
        try:
            frame = self._decode(data)
            pixels = None if frame is None else self._draw(frame)
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

    def _draw(self, frame: VideoFrame) -> Bytes:
        look = read_look(frame, self._context, None)
        width, height = shown_size(look.width, look.height, look.aspect, look.pose)
        if max(width * height, look.width * look.height) > self._max_pixels:
            raise ClipTooManyPixels()
        bottom_first = frame.interlaced_frame and shows_bottom_first(self._context)
        coded = self._converter.to_rgb(frame, bottom_first=bottom_first)
        self._note_shape(look)
        self.corrupt += frame.is_corrupt
        self.interlaced += frame.interlaced_frame
        return show(coded, look.aspect, look.pose)

    def _note_shape(self, look: Look) -> None:
        pose = look.pose
        shape: list[int | str | bool] = [
            look.width,
            look.height,
            str(look.aspect),
            pose.degrees,
            pose.mirrored,
        ]
        self.size_changes += bool(self._shape) and shape != self._shape
        self._shape = shape


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height by the headers of a JPEG; None: it is none."""
    if not data.startswith(_START):
        return None
    place = len(_START)
    while place + 9 <= len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if kind == 0xFF:  # padding
            place += 1
            continue
        if kind in _SIZES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return None
