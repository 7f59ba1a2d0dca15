"""Clips that a decoder has long to do with, each in its own way."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from tests.media import bombs
from tests.media.factory import PictureTrack, write

_RATE: Final = 25
_DISTINCT: Final = 3
_UHD: Final = (3840, 2160)


def make_large(path: Path, *, frames: int, size: tuple[int, int] = _UHD) -> Path:
    """So many pictures of that size, width and height; a few, whose packets are repeated."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=_RATE, options={"qmin": "8", "qmax": "8"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        packets = [
            bytes(packet)
            for index in range(_DISTINCT)
            for packet in stream.encode(_draw_noise(width, height, index))
        ]
        for index in range(frames):
            packet = av.Packet(packets[index % len(packets)])
            packet.stream, packet.time_base = stream, Fraction(1, _RATE)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)
    return path


def make_slow_to_open(path: Path, *, tags: int) -> Path:
    """Takes processor time that grows with the square of the tags; until then nothing comes."""
    return bombs.add_tags(write(path, PictureTrack(count=5)), tags)


def make_greedy(path: Path, *, frames: int) -> Path:
    """Small pictures, and then one that takes 270 MB."""
    pictures = [*[bombs.png(64, 64, bits=8)] * frames, bombs.png(8192, 4096, bits=16)]
    return bombs.film(path, *pictures, width=64, height=64)


def _draw_noise(width: int, height: int, seed: int) -> av.VideoFrame:
    """Blocks of any shade: a picture that takes a decoder's time, and not much of the disk."""
    shades = np.random.default_rng(seed).integers(0, 255, (height // 30, width // 32, 3), np.uint8)
    return av.VideoFrame.from_ndarray(shades.repeat(30, 0).repeat(32, 1), format="rgb24")
