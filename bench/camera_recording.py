"""What a camera and a microphone would bring: JPEG pictures of a drawn face, and its voice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames
from training.synthetic.renderer import PerformanceRenderer

RATE_HZ: Final = 25
FRAME_SIZE: Final = (640, 360)
JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRecording:
    """JPEG files at RATE_HZ, and 16-bit mono sound of the same length at SAMPLE_RATE_HZ."""

    jpegs: tuple[bytes, ...]
    audio: bytes

    def frame_at(self, index: int) -> bytes:
        """The picture of a frame, over and over."""
        return self.jpegs[index % len(self.jpegs)]

    def audio_at(self, index: int) -> bytes:
        """The sound that lasts as long as a frame."""
        samples = SAMPLE_RATE_HZ // RATE_HZ
        start = 2 * samples * (index % len(self.jpegs))
        return self.audio[start : start + 2 * samples]


def render_recording(seconds: float) -> CameraRecording:
    """Draw a reel; the same every time."""
    width, height = FRAME_SIZE
    performance = create_demo_performance(seconds=seconds)
    studio = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    pictures = tuple(
        cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[
            1
        ].tobytes()
        for picture in render_frames(performance, studio, times)
    )
    waveform = render_audio(performance)[: len(times) * SAMPLE_RATE_HZ // RATE_HZ]
    return CameraRecording(jpegs=pictures, audio=(waveform * 32767).astype("<i2").tobytes())
