"""Conversion of colours by declared and undeclared matrices, ranges and transfers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.media.encoding import add_video, encode_video, repeat_picture
from tests.media.in_process_reading import read_video

HD, SD = (1280, 720), (64, 48)
# BT.601 and BT.709 codes of pure red, limited range, 8 bits (ITU-R BT.601-7, BT.709-6)
RED_601, RED_709 = (82, 90, 240), (63, 102, 240)
BT709, BT601, BT2020, YCGCO = 1, 6, 9, 8
PQ, HLG = 16, 18


def write(
    path: Path,
    samples: tuple[int, ...],
    size: tuple[int, int] = SD,
    *,
    depth: int = 8,
    **color_properties: int,
) -> Path:
    """Write a lossless picture of one colour, given as the samples of its planes."""
    pixel_format = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
    with av.open(str(path), "w") as container:
        stream = add_video(container, "ffv1", size=size, pixel_format=pixel_format)
        frame = av.VideoFrame(*size, pixel_format)
        for plane, sample in zip(frame.planes, samples, strict=True):
            samples_of_plane = np.frombuffer(
                memoryview(plane), np.uint8 if depth == 8 else np.uint16
            )
            samples_of_plane[:] = sample
        for name, value in color_properties.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        encode_video(container, stream, [frame])
    return path


RED_CASES: dict[str, tuple[tuple[int, ...], tuple[int, int], dict[str, int]]] = {
    "bt.709": (RED_709, SD, {"colorspace": BT709}),
    "bt.601": (RED_601, HD, {"colorspace": BT601}),
    "undeclared, small": (RED_601, SD, {}),
    "undeclared, large": (RED_709, HD, {}),
    "an unsupported matrix, large": (RED_709, HD, {"colorspace": YCGCO}),
    "full range": ((54, 99, 255), SD, {"colorspace": BT709, "color_range": 2}),
    "ten bits": ((250, 409, 960), SD, {"colorspace": BT709, "depth": 10}),
    "twelve bits": ((1000, 1635, 3840), SD, {"colorspace": BT709, "depth": 12}),
    "odd size": (RED_601, (65, 49), {}),
}


@pytest.mark.parametrize(
    ("samples", "size", "color_properties"), RED_CASES.values(), ids=RED_CASES.keys()
)
def test_every_matrix_range_and_depth_decodes_red_as_red(
    tmp_path: Path,
    samples: tuple[int, ...],
    size: tuple[int, int],
    color_properties: dict[str, Any],
) -> None:
    (picture,) = read_video(write(tmp_path / "clip.mkv", samples, size, **color_properties)).pixels
    assert picture.shape == (size[1], size[0], 3)
    # samples are whole numbers: a step of one in chroma is two levels of red
    expected = np.broadcast_to((255, 0, 0), picture.shape)
    assert np.abs(picture.astype(int) - expected).max() <= 3


# signal of a grey by its luminance in cd/m2; its expected SDR value has a closed form,
# (luminance / 203) ** (1 / 2.4)
PQ_GREYS = {10: 0.2998, 50: 0.4403, 100: 0.5081, 203: 0.5807, 1000: 0.7518}
HLG_GREYS = {63.1: 0.5441, 203: 0.7500, 1000: 1.0}


@pytest.mark.parametrize(
    ("transfer", "nits", "signal"),
    [(PQ, *grey) for grey in PQ_GREYS.items()] + [(HLG, *grey) for grey in HLG_GREYS.items()],
)
def test_hdr_is_converted_with_reference_white_as_white(
    tmp_path: Path, transfer: int, nits: float, signal: float
) -> None:
    samples = (round(64 + 876 * signal), 512, 512)
    declared = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": transfer}
    clip = write(tmp_path / "clip.mkv", samples, SD, depth=10, **declared)
    reading = read_video(clip)
    expected = 255 * min(1.0, nits / 203) ** (1 / 2.4)
    # rounding the signal to 8 bits changes the result by at most two levels
    assert reading.pixels[0].astype(float) == pytest.approx(expected, abs=2.5)
    assert reading.media.hdr == {PQ: "pq", HLG: "hlg"}[transfer]


def test_wide_gamut_red_is_converted_to_srgb_red(tmp_path: Path) -> None:
    # BT.709 red at half of reference white, in BT.2020 primaries, PQ, 10 bits limited range
    linear = np.array(
        [[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]]
    )
    power = (linear[:, 0] * 101.5 / 10_000) ** 0.1593017578125
    red, green, blue = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    samples = (
        round(64 + 876 * luma),
        round(512 + 896 * (blue - luma) / 1.8814),
        round(512 + 896 * (red - luma) / 1.4746),
    )
    declared = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": PQ}
    (picture,) = read_video(write(tmp_path / "clip.mkv", samples, SD, depth=10, **declared)).pixels
    pixel = picture[10, 10].astype(int)
    assert pixel[0] == pytest.approx(255 * 0.5 ** (1 / 2.4), abs=4)
    # in a dark channel a small error of light is many 8-bit levels
    assert pixel[1:].max() < 50


@pytest.mark.parametrize(("order", "level"), [("tff", 200), ("bff", 50)])
def test_an_interlaced_frame_is_decoded_to_its_first_field(
    tmp_path: Path, order: str, level: int
) -> None:
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = add_video(container, "libx264", size=(128, 96))
        stream.codec_context.options = {"x264-params": f"{order}=1", "qp": "1"}
        lines = np.full((96, 128, 3), 50, np.uint8)
        lines[0::2] = 200
        encode_video(container, stream, repeat_picture(lines, 5))
    reading = read_video(clip)
    assert len(reading.times) == reading.anomalies.interlaced_frames == 5
    for picture in reading.pixels:
        # two steps of conversion and a codec
        assert np.abs(picture.astype(int) - level).max() <= 4
