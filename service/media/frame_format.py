"""What a decoded frame is before it is displayed: size, samples, colours, pose."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from service.media.colour import Colours, read_colours
from service.media.orientation import Orientation, read_orientation

FIELD_ORDERS: Final = {1: "progressive", 2: "top", 3: "bottom", 4: "bottom", 5: "top"}
"""By FFmpeg's AVFieldOrder: the field that is shown first."""
_BOTTOM_FIRST_CODECS: Final = ("dvvideo",)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFormat:
    """A frame as it was decoded. aspect: width to height of a pixel, None: square."""

    width: int
    height: int
    pixel_format: str
    bit_depth: int
    aspect: Fraction | None
    orientation: Orientation
    colours: Colours

    @property
    def shape(self) -> tuple[int, int, Fraction | None, Orientation]:
        """What boxes in displayed pixels depend on."""
        return self.width, self.height, self.aspect, self.orientation


def read_aspect(stream: VideoStream) -> Fraction | None:
    """The pixel aspect that the container imposes; None where it leaves that to the frames."""
    declared = stream.sample_aspect_ratio
    return None if declared == stream.codec_context.sample_aspect_ratio else declared


def read_frame_format(
    frame: VideoFrame, context: VideoCodecContext, aspect: Fraction | None
) -> FrameFormat:
    """The look of the frame that a decoder has just given; `aspect`: the container's."""
    return FrameFormat(
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        aspect=aspect or context.sample_aspect_ratio or None,
        orientation=read_orientation(frame),
        colours=read_colours(frame),
    )


def is_bottom_field_first(context: VideoCodecContext) -> bool:
    """Which field of an interlaced frame is seen at its time; the top one where nobody says."""
    order = FIELD_ORDERS.get(context.field_order)
    return order == "bottom" or (order is None and context.name in _BOTTOM_FIRST_CODECS)
