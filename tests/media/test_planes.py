"""Pictures on the decoder's planes, against FFmpeg's conversion of the whole frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from service.domain.array_types import UInt8Array
from service.faces.alignment import ARCFACE_TEMPLATE, align_crop
from service.media.frame_format import Colours, FrameFormat
from service.media.orientation import UPRIGHT
from service.media.planes import share_planes

FORMATS = ["yuv420p", "yuvj420p", "nv12", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"]
LIMITED = 1
FULL = 2


def draw_frame(pixel_format: str, width: int, height: int, color_range: int) -> VideoFrame:
    """Draw a frame of moderate colours, with sensor grain."""
    random = np.random.default_rng(1)
    frame = VideoFrame(width, height, pixel_format)
    frame.color_range = color_range
    for index, plane in enumerate(frame.planes):
        view = memoryview(plane)  # pyright: ignore[reportArgumentType]  # it has a buffer
        rows = np.frombuffer(view, np.uint8).reshape(plane.height, plane.line_size)
        coarse = random.integers(90, 166, (9, 12)).astype(np.float32)
        drawn = cv2.resize(coarse, rows.shape[::-1], interpolation=cv2.INTER_CUBIC)
        grain = random.normal(0, 4 if index == 0 else 0.5, rows.shape)
        rows[:] = np.clip(drawn + np.asarray(grain), 20, 230).astype(np.uint8)
    return frame


def convert_with_ffmpeg(frame: VideoFrame, matrix: Colorspace) -> UInt8Array:
    converted = VideoReformatter().reformat(
        frame,
        format="rgb24",
        src_colorspace=matrix,
        src_color_range=ColorRange.UNSPECIFIED,
        interpolation=Interpolation.BILINEAR,
    )
    return np.asarray(converted.to_ndarray(), np.uint8)


def make_format(frame: VideoFrame, colours: Colours | None = None) -> FrameFormat:
    return FrameFormat(
        width=frame.width,
        height=frame.height,
        pixel_format=frame.format.name,
        bit_depth=8,
        aspect=None,
        orientation=UPRIGHT,
        colours=colours
        or Colours(
            range="full" if frame.color_range == FULL else "limited",
            matrix=None,
            transfer=None,
            primaries=None,
        ),
    )


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("color_range", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("size", [(400, 320), (401, 321), (400, 321)])
def test_crops_are_those_of_the_converted_frame(
    pixel_format: str, color_range: int, matrix: Colorspace, size: tuple[int, int]
) -> None:
    frame = draw_frame(pixel_format, *size, FULL if "j" in pixel_format else color_range)
    picture = share_planes(frame, make_format(frame), matrix)
    assert picture is not None
    converted = convert_with_ffmpeg(frame, matrix)
    assert picture.shape == converted.shape[:2]
    differences: list[float] = []
    for scale, shift in [(0.5, 60), (1.0, 90), (1.7, -25), (2.6, 15), (1.0, 280)]:
        points = ARCFACE_TEMPLATE * np.float32(scale) + np.float32(shift)
        crop, expected = align_crop(picture, points), align_crop(converted, points)
        differences.append(float(np.abs(crop.astype(int) - expected).mean()))
    # FFmpeg repeats chroma where it is interpolated here; at odd heights it rounds otherwise
    assert np.mean(differences) < (1.1 if size[1] % 2 else 1)
