"""Clips that a decoder has long to do with, each in its own way."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

import av
import numpy as np

from tests.media import hostile_files
from tests.media.clip_factory import VideoTrack, encode_clip

_RATE: Final = 25
_UHD_SIZE: Final = (3840, 2160)
_MAX_SIZE: Final = (8192, 4320)
_BLOCK_SIZE: Final = (32, 30)


def make_large(
    path: Path, *, frames: int, size: tuple[int, int] = _UHD_SIZE, distinct: int = 3
) -> Path:
    """So many pictures of that size, width and height; a few, whose packets are repeated."""
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=_RATE, options={"qmin": "8", "qmax": "8"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        pictures = (_draw_blocks(width, height, seed) for seed in range(distinct))
        packets = [bytes(packet) for picture in pictures for packet in stream.encode(picture)]
        for index in range(frames):
            packet = av.Packet(packets[index % distinct])
            packet.stream, packet.time_base = stream, Fraction(1, _RATE)
            packet.pts = packet.dts = index
            packet.is_keyframe = True
            container.mux(packet)
    return path


def make_slow_to_open(path: Path, *, tags: int) -> Path:
    """Takes processor time that grows with the square of the tags; until then nothing comes."""
    return hostile_files.add_tags(encode_clip(path, VideoTrack(count=5)), tags)


def make_memory_hungry(path: Path) -> Path:
    """As large as is accepted: more than a child with the least memory can hold."""
    return make_large(path, frames=6, size=_MAX_SIZE, distinct=1)


def _draw_blocks(width: int, height: int, seed: int) -> av.VideoFrame:
    """Blocks of any shade: they take a decoder's time, and not much of the disk."""
    sides = (height // _BLOCK_SIZE[1], width // _BLOCK_SIZE[0], 3)
    shades = np.random.default_rng(seed).integers(0, 255, sides, np.uint8)
    picture = shades.repeat(_BLOCK_SIZE[1], 0).repeat(_BLOCK_SIZE[0], 1)
    return av.VideoFrame.from_ndarray(picture, format="rgb24")
