"""What a camera and a microphone would bring: JPEG pictures of a drawn face, and its voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.time import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import demo_performance, film, sound_of
from training.synthetic.studio import Studio

RATE_HZ: Final = 25
SIZE: Final = (640, 360)
JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
    """JPEG files at RATE_HZ, and 16-bit mono sound of the same length at SAMPLE_RATE_HZ."""

    pictures: tuple[bytes, ...]
    sound: bytes

    def picture(self, index: int) -> bytes:
        """The picture of a frame, over and over."""
        return self.pictures[index % len(self.pictures)]

    def sound_of(self, index: int) -> bytes:
        """The sound that lasts as long as a frame."""
        samples = SAMPLE_RATE_HZ // RATE_HZ
        start = 2 * samples * (index % len(self.pictures))
        return self.sound[start : start + 2 * samples]


def draw_reel(seconds: float) -> Reel:
    """Draw a reel; the same every time."""
    width, height = SIZE
    performance = demo_performance(seconds=seconds)
    studio = Studio(performance, Camera.of_seed(performance.seed), height=height, width=width)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pictures = tuple(
        cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ].tobytes()
        for picture in film(performance, studio, times)
    )
    waveform = sound_of(performance)[: len(times) * SAMPLE_RATE_HZ // RATE_HZ]
    return Reel(pictures=pictures, sound=(waveform * 32767).astype("<i2").tobytes())
