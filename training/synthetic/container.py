"""Pictures and sound into a file: the clips that demo, tests and training data are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ

CLIP_SAMPLE_RATE_HZ: Final = 48_000
"""The rate that every audio codec in use accepts."""

_VIDEO_TIME_BASE: Final = Fraction(1, 90_000)
"""The clock of pictures at times of their own; a constant rate counts in frames."""
_AUDIO_BLOCK_SAMPLES: Final = 1_024
_CODEC_OPTIONS: Final = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32"},
}


def write_clip(
    path: Path,
    pictures: Iterable[UInt8Array],
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    waveform: Float32Array | None = None,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    container_options: Mapping[str, str] | None = None,
) -> None:
    """Mux pictures, and sound if there is any, into the container that the suffix names.

    Args:
        pictures: (H, W, 3) uint8 RGB each, all of one size, both sides even.
        rate: frames per second; with `times` only what the header declares.
        times: presentation seconds of the pictures, rising; picture k is at k / rate otherwise.
        waveform: (S,) float32 in [-1, 1], mono 16 kHz, from time 0; written at 48 kHz.
        container_options: options of the muxer, such as `{"movflags": "+faststart"}`.
    """
    options = {"fflags": "+bitexact", **(container_options or {})}
    with av.open(str(path), "w", options=options) as container:
        sound = None
        video = container.add_stream(
            video_codec, rate=rate, options=_CODEC_OPTIONS.get(video_codec, {})
        )
        assert isinstance(video, VideoStream)
        if waveform is not None:
            sound = _AudioTrackWriter(container, audio_codec, waveform)
        tick = 1 / rate if times is None else _VIDEO_TIME_BASE
        for index, picture in enumerate(pictures):
            seconds = index / rate if times is None else times[index]
            _mux_picture(container, video, picture, round(seconds / tick), tick)
            if sound is not None:
                sound.mux_until(seconds)
        container.mux(video.encode(None))
        if sound is not None:
            sound.close()


def _mux_picture(
    container: OutputContainer, stream: VideoStream, picture: UInt8Array, ticks: int, tick: Fraction
) -> None:
    if not stream.codec_context.is_open:
        height, width, _ = picture.shape
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        stream.time_base = tick
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    frame.time_base = tick
    frame.pts = ticks
    container.mux(stream.encode(frame))


class _AudioTrackWriter:
    """The audio stream of a clip, written block by block beside the pictures."""

    def __init__(self, container: OutputContainer, codec: str, waveform: Float32Array) -> None:
        stream = container.add_stream(codec, rate=CLIP_SAMPLE_RATE_HZ, layout="mono")
        assert isinstance(stream, AudioStream)
        self._container = container
        self._stream = stream
        self._waveform = waveform
        self._written = 0

    def mux_until(self, seconds: Fraction) -> None:
        """Write the blocks that start before `seconds`."""
        end = min(len(self._waveform), int(seconds * SAMPLE_RATE_HZ))
        while self._written < end:
            block = self._waveform[self._written : self._written + _AUDIO_BLOCK_SAMPLES]
            frame = av.AudioFrame.from_ndarray(block[None, :], format="flt", layout="mono")
            frame.sample_rate = SAMPLE_RATE_HZ
            frame.time_base = Fraction(1, SAMPLE_RATE_HZ)
            frame.pts = self._written
            self._container.mux(self._stream.encode(frame))
            self._written += len(block)

    def close(self) -> None:
        """Write what is left."""
        self.mux_until(Fraction(len(self._waveform), SAMPLE_RATE_HZ))
        self._container.mux(self._stream.encode(None))
