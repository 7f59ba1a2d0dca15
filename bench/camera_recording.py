"""Camera recording: JPEG frames and audio of a synthetic actor, as a camera would send them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from service.domain.array_types import UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_audio, render_frames
from training.synthetic.renderer import PerformanceRenderer

RATE_HZ: Final = 25
FRAME_SIZE: Final = (640, 360)
JPEG_QUALITY: Final = 85


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraRecording:
    """JPEG frames at RATE_HZ, and 16-bit mono audio of the same length at SAMPLE_RATE_HZ."""

    jpegs: tuple[bytes, ...]
    audio: bytes

    def frame_at(self, index: int) -> bytes:
        """JPEG of a frame; the recording repeats."""
        return self.jpegs[index % len(self.jpegs)]

    def audio_at(self, index: int) -> bytes:
        """Audio of a frame's duration; the recording repeats."""
        samples = SAMPLE_RATE_HZ // RATE_HZ
        start = 2 * samples * (index % len(self.jpegs))
        return self.audio[start : start + 2 * samples]


def render_recording(seconds: float) -> CameraRecording:
    """Render a recording, the same every time."""
    width, height = FRAME_SIZE
    performance = create_demo_performance(seconds=seconds)
    renderer = PerformanceRenderer(
        performance, Camera.from_seed(performance.seed), height=height, width=width
    )
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    jpegs = tuple(_encode_jpeg(picture) for picture in render_frames(performance, renderer, times))
    waveform = render_audio(performance)[: len(times) * SAMPLE_RATE_HZ // RATE_HZ]
    return CameraRecording(jpegs=jpegs, audio=(waveform * 32767).astype("<i2").tobytes())


def _encode_jpeg(picture: UInt8Array) -> bytes:
    bgr = picture[:, :, ::-1]
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
