"""Writing of clips: frames and audio into a container file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from service.domain.array_types import Float32Array, UInt8Array
from service.domain.audio_grid import SAMPLE_RATE_HZ

CLIP_SAMPLE_RATE_HZ: Final = 48_000
"""The rate that every audio codec in use accepts."""

_VIDEO_TIME_BASE: Final = Fraction(1, 90_000)
"""Time base of frames at variable times; a constant rate uses 1 / rate."""
_AUDIO_BLOCK_SAMPLES: Final = 1_024
_CODEC_OPTIONS: Final = {
    "libx264": {"preset": "veryfast", "crf": "20"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32"},
}


def write_clip(
    path: Path,
    images: Iterable[UInt8Array],
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    waveform: Float32Array | None = None,
    video_codec: str = "libx264",
    audio_codec: str = "aac",
    container_options: Mapping[str, str] | None = None,
) -> None:
    """Mux frames, and audio if given, into the container of the path's suffix.

    Args:
        path: of the file.
        images: (H, W, 3) uint8 RGB each, all of one size, both sides even.
        rate: frames per second; with `times` only declared in the header.
        times: presentation seconds of the frames, ascending; default: frame k is at k / rate.
        waveform: (S,) float32 in [-1, 1], mono 16 kHz, from time 0; written at 48 kHz.
        video_codec: FFmpeg's name of the encoder.
        audio_codec: FFmpeg's name of the encoder.
        container_options: options of the muxer, such as `{"movflags": "+faststart"}`.

    """
    options = {"fflags": "+bitexact", **(container_options or {})}
    with av.open(str(path), "w", options=options) as container:
        audio = None
        video = _as_any(container).add_stream(
            video_codec, rate=rate, options=_CODEC_OPTIONS.get(video_codec, {})
        )
        assert isinstance(video, VideoStream)
        if waveform is not None:
            audio = _AudioTrackWriter(container, audio_codec, waveform)
        tick = 1 / rate if times is None else _VIDEO_TIME_BASE
        for index, image in enumerate(images):
            seconds = index / rate if times is None else times[index]
            _mux_image(container, video, image, round(seconds / tick), tick)
            if audio is not None:
                audio.mux_until(seconds)
        _encode_and_mux(container, video, None)
        if audio is not None:
            audio.close()


def _as_any(value: object) -> Any:
    """Hide PyAV's partial types, whose methods are reported as unknown."""
    return value


def _encode_and_mux(
    container: OutputContainer,
    stream: VideoStream | AudioStream,
    frame: av.VideoFrame | av.AudioFrame | None,
) -> None:
    """Encode a frame, None at the end, and write its packets."""
    _as_any(container).mux(_as_any(stream).encode(frame))


def _mux_image(
    container: OutputContainer, stream: VideoStream, image: UInt8Array, ticks: int, tick: Fraction
) -> None:
    if not stream.codec_context.is_open:
        height, width, _ = image.shape
        stream.height, stream.width = height, width
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = tick
        stream.time_base = tick
    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
    frame.time_base = tick
    frame.pts = ticks
    _encode_and_mux(container, stream, frame)


class _AudioTrackWriter:
    """Audio stream of a clip, written in blocks between the frames."""

    def __init__(self, container: OutputContainer, codec: str, waveform: Float32Array) -> None:
        stream = _as_any(container).add_stream(codec, rate=CLIP_SAMPLE_RATE_HZ, layout="mono")
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
            _encode_and_mux(self._container, self._stream, frame)
            self._written += len(block)

    def close(self) -> None:
        """Write the remaining samples."""
        self.mux_until(Fraction(len(self._waveform), SAMPLE_RATE_HZ))
        _encode_and_mux(self._container, self._stream, None)
