"""Seeds: tiny intact files of every container and codec, from which inputs are made."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import av
import numpy as np

from service.domain.array_types import UInt8Array
from tests.media.clip_factory import AudioTrack, VideoTrack, encode_clip
from training.synthetic.camera import Camera
from training.synthetic.clip import create_demo_performance, render_frames
from training.synthetic.renderer import PerformanceRenderer

_FRAME_COUNT: Final = 2
_REORDERED_FRAME_COUNT: Final = 3
"""For codecs that reorder frames."""
_SIZE: Final = (80, 60)
_MIN_PACKET_BYTES: Final = 8
_NOBODY_UID: Final = 65534
_X264: Final = {
    "preset": "veryfast",
    "crf": "18",
    "threads": "1",
    "x264-params": "bframes=2:keyint=4",
}
_X265: Final = {
    "preset": "ultrafast",
    "crf": "18",
    "x265-params": "pools=none:frame-threads=1:log-level=none",
}
_AV1: Final = {"preset": "11", "svtav1-params": "lp=1"}
_MJPEG: Final = {"strict": "unofficial", "qmax": "3"}
_BITEXACT: Final = {"fflags": "+bitexact"}
_FRAGMENTED: Final = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """An intact file. packets: (start, stop) of its coded packets and codec headers."""

    name: str
    data: bytes
    packets: tuple[tuple[int, int], ...]

    @property
    def container(self) -> str:
        """The file's suffix."""
        return self.name.rpartition(".")[2]


def make_seeds() -> tuple[Seed, ...]:
    """Make every seed; the same bytes each time except for x264's, which vary slightly."""
    with TemporaryDirectory(prefix="circumplex-seeds-") as folder:
        return tuple(_make_seed(Path(folder), *spec) for spec in _seed_specs())


@contextmanager
def _as_unprivileged_user(folder: Path) -> Generator[None]:
    """Drop root: as root, SVT-AV1 gives itself and its caller real-time priority."""
    if os.geteuid() != 0:
        yield
        return
    folder.chmod(0o777)
    os.seteuid(_NOBODY_UID)
    try:
        yield
    finally:
        os.seteuid(0)


SeedSpec = tuple[str, VideoTrack | None, AudioTrack | None, dict[str, str]]


def _seed_specs() -> Sequence[SeedSpec]:
    face = _draw_face()
    h264, plain = _X264, {"b": "400000"}

    def video(codec: str, options: dict[str, str] = plain) -> VideoTrack:
        return VideoTrack(
            codec=codec,
            options=options,
            size=_SIZE,
            count=_REORDERED_FRAME_COUNT if options in (_X264, _X265) else _FRAME_COUNT,
            time_base=Fraction(1, 25),
            picture=face,
        )

    edited = replace(video("libx264", h264), start_seconds=Fraction(1, 5))
    rotated = replace(
        video("libx264", h264), rotation=180, aspect=Fraction(4, 3), picture=face[::-1, ::-1]
    )
    return (
        ("plain.mp4", video("libx264", h264), _audio_track("aac"), {}),
        ("edited.mp4", edited, _audio_track("aac"), {}),
        ("fragmented.mp4", video("libx264", h264), _audio_track("aac"), _FRAGMENTED),
        ("turned.mov", rotated, _audio_track("pcm_s16le"), {}),
        ("hevc.mp4", video("libx265", _X265), None, {}),
        ("mpeg4.mp4", video("mpeg4"), _audio_track("libmp3lame"), {}),
        ("av1.mp4", video("libsvtav1", _AV1), _audio_track("libopus"), {}),
        ("mjpeg.mov", video("mjpeg", _MJPEG), None, {}),
        ("h264.mkv", video("libx264", h264), _audio_track("libopus"), {}),
        ("hevc.mkv", video("libx265", _X265), _audio_track("flac"), {}),
        ("vp8.webm", video("libvpx"), _audio_track("libopus"), {}),
        ("vp9.webm", video("libvpx-vp9"), None, {}),
        ("h264.ts", video("libx264", h264), _audio_track("aac"), {}),
        ("mpeg2.ts", video("mpeg2video"), _audio_track("libmp3lame"), {}),
        ("mpeg4.avi", video("mpeg4"), _audio_track("libmp3lame"), {}),
        ("mjpeg.avi", video("mjpeg", _MJPEG), _audio_track("pcm_s16le"), {}),
        ("h264.flv", video("libx264", h264), _audio_track("aac"), {}),
        ("mpeg2.vob", video("mpeg2video"), None, {}),
        ("wmv2.asf", video("wmv2"), _audio_track("libmp3lame"), {}),
        ("vp8.ogg", video("libvpx"), None, {}),
        ("sound.wav", None, _audio_track("pcm_s16le"), {}),
        ("sound.mp3", None, _audio_track("libmp3lame"), {}),
    )


def _audio_track(codec: str) -> AudioTrack:
    return AudioTrack(codec=codec, seconds=0.3, clap_seconds=(0.1,))


def _draw_face() -> UInt8Array:
    """Render the demo's actor to (60, 80, 3) uint8, small but still detectable."""
    width, height = _SIZE
    performance = create_demo_performance(seconds=1.0)
    camera = Camera.from_seed(performance.seed)
    renderer = PerformanceRenderer(performance, camera, height=height, width=width)
    return next(render_frames(performance, renderer, np.zeros(1)))


def _make_seed(
    folder: Path,
    name: str,
    video: VideoTrack | None,
    audio: AudioTrack | None,
    muxer: dict[str, str],
) -> Seed:
    with _as_unprivileged_user(folder):
        path = encode_clip(folder / name, video, audio, **_BITEXACT, **muxer)
    data = path.read_bytes()
    return Seed(name=name, data=data, packets=tuple(_locate_packets(path, data)))


def _locate_packets(path: Path, data: bytes) -> list[tuple[int, int]]:
    """Locate the codec headers and packets that are contiguous in the file."""
    with av.open(str(path)) as container:
        headers = [stream.codec_context.extradata or b"" for stream in container.streams]
        parts = headers + [bytes(packet) for packet in container.demux()]
    found: list[tuple[int, int]] = []
    for part in parts:
        start = data.find(part)
        if len(part) >= _MIN_PACKET_BYTES and start >= 0:
            found.append((start, start + len(part)))
    return found
