"""Clips of the comparison: a drawn actor that speaks, as a camera would record it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from bench.long_clip import LoopPicture, encode_loop, repeat_loop

RATE_HZ: Final = 25
CAMERA_BITS_PER_SECOND: Final = {360: 1_500_000, 720: 5_000_000, 1080: 8_000_000}
"""Bit rates of phones and good webcams, by height."""
HEIGHTS: Final = tuple(sorted(CAMERA_BITS_PER_SECOND))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipKind:
    """Height in pixels, length in seconds; has_grain: sensor grain, at a camera's bit rate.

    Without it a drawn clip needs a tenth of the bits, and decodes four times as fast.
    """

    height: int
    seconds: int
    has_grain: bool

    def draw(self, folder: Path) -> Path:
        """Draw the clip, unless it is there; its first 16 seconds are repeated."""
        path = folder / f"{self._prefix}-{self.seconds}s.mp4"
        if not path.is_file():
            repeat_loop(self._draw_loop(folder), path, self.seconds)
        return path

    @property
    def _prefix(self) -> str:
        return f"{self.height}p-{'grain' if self.has_grain else 'clean'}"

    def _draw_loop(self, folder: Path) -> Path:
        path = folder / f"{self._prefix}-loop.mp4"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f"unfinished-{path.name}")
            bits = CAMERA_BITS_PER_SECOND[self.height] if self.has_grain else None
            width = self.height * 16 // 9
            picture = LoopPicture(width=width, height=self.height, bits_per_second=bits)
            encode_loop(unfinished, Fraction(RATE_HZ), picture)
            unfinished.replace(path)
        return path
