"""Clips of the comparison: a drawn actor with sensor grain at a camera's bit rate, and a voice."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Final

from bench.long_clip import LoopPicture, encode_loop, repeat_loop

RATE_HZ: Final = 25
CAMERA_BITS_PER_SECOND: Final = {360: 1_500_000, 720: 5_000_000, 1080: 8_000_000}
"""Bit rates of phones and good webcams by height. A drawn clip without grain needs a tenth, and
decodes four times as fast."""


def draw_peer_clip(folder: Path, height: int, seconds: int) -> Path:
    """Draw a clip, unless it is there; its first 16 seconds are repeated."""
    path = folder / f"{height}p-{seconds}s.mp4"
    if not path.is_file():
        repeat_loop(_draw_loop(folder, height), path, seconds)
    return path


def _draw_loop(folder: Path, height: int) -> Path:
    path = folder / f"{height}p-loop.mp4"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"unfinished-{path.name}")
        picture = LoopPicture(
            width=height * 16 // 9,
            height=height,
            bits_per_second=CAMERA_BITS_PER_SECOND[height],
        )
        encode_loop(unfinished, Fraction(RATE_HZ), picture)
        unfinished.replace(path)
    return path
