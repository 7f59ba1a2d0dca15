"""Colours are those that a screen shows, whatever the file says or leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

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
    """A lossless picture of one colour, given as the samples of its planes."""
    pixel_format = "yuv420p" if depth == 8 else f"yuv420p{depth}le"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        frame = av.VideoFrame(*size, pixel_format)
        for plane, sample in zip(frame.planes, samples, strict=True):
            np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16)[:] = sample
        for name, value in color_properties.items():
            setattr(stream.codec_context, name, value)
            setattr(frame, name, value)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


SHOWN = {
    "bt.709": (RED_709, SD, {"colorspace": BT709}),
    "bt.601": (RED_601, HD, {"colorspace": BT601}),
    "unsaid, small": (RED_601, SD, {}),
    "unsaid, large": (RED_709, HD, {}),
    "a matrix without a way, large": (RED_709, HD, {"colorspace": YCGCO}),
    "full range": ((54, 99, 255), SD, {"colorspace": BT709, "color_range": 2}),
    "ten bits": ((250, 409, 960), SD, {"colorspace": BT709, "depth": 10}),
    "twelve bits": ((1000, 1635, 3840), SD, {"colorspace": BT709, "depth": 12}),
    "odd size": (RED_601, (65, 49), {}),
}


@pytest.mark.parametrize(("samples", "size", "color_properties"), SHOWN.values(), ids=SHOWN.keys())
def test_red_is_red(
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


# signal of a grey, by light on the screen in cd/m2; what an ordinary screen shows of it,
# (light / 203) ** (1 / 2.4), is known in closed form
PQ_GREYS = {10: 0.2998, 50: 0.4403, 100: 0.5081, 203: 0.5807, 1000: 0.7518}
HLG_GREYS = {63.1: 0.5441, 203: 0.7500, 1000: 1.0}


@pytest.mark.parametrize(
    ("transfer", "nits", "signal"),
    [(PQ, *grey) for grey in PQ_GREYS.items()] + [(HLG, *grey) for grey in HLG_GREYS.items()],
)
def test_wide_range_is_shown_with_reference_white_as_white(
    tmp_path: Path, transfer: int, nits: float, signal: float
) -> None:
    samples = (round(64 + 876 * signal), 512, 512)
    says = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": transfer}
    clip = write(tmp_path / "clip.mkv", samples, depth=10, **says)
    reading = read_video(clip)
    shown = 255 * min(1.0, nits / 203) ** (1 / 2.4)
    # eight bits of signal are at most two levels of what is shown
    assert reading.pixels[0].astype(float) == pytest.approx(shown, abs=2.5)
    assert reading.media.hdr == {PQ: "pq", HLG: "hlg"}[transfer]


def test_wide_gamut_red_stays_red(tmp_path: Path) -> None:
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
    says = {"colorspace": BT2020, "color_primaries": BT2020, "color_trc": PQ}
    (picture,) = read_video(write(tmp_path / "clip.mkv", samples, depth=10, **says)).pixels
    shown = picture[10, 10].astype(int)
    assert shown[0] == pytest.approx(255 * 0.5 ** (1 / 2.4), abs=4)
    # a level of an 8-bit dark channel is much light beside none at all
    assert shown[1:].max() < 50


@pytest.mark.parametrize(("order", "level"), [("tff", 200), ("bff", 50)])
def test_an_interlaced_frame_shows_the_field_of_its_time(
    tmp_path: Path, order: str, level: int
) -> None:
    clip = tmp_path / "clip.mp4"
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.options = {"x264-params": f"{order}=1", "qp": "1"}
        lines = np.full((96, 128, 3), 50, np.uint8)
        lines[0::2] = 200
        for index in range(5):
            frame = av.VideoFrame.from_ndarray(lines, format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reading = read_video(clip)
    assert len(reading.times) == reading.anomalies.interlaced_frames == 5
    for picture in reading.pixels:
        # two steps of conversion and a codec
        assert np.abs(picture.astype(int) - level).max() <= 4
