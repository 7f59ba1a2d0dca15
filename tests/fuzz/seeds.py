"""The files that inputs are made from: tiny, whole, one of every container and codec."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import av
import numpy as np

from service.domain.arrays import Bytes
from tests.media.factory import PictureTrack, SoundTrack, write
from training.synthetic.camera import Camera
from training.synthetic.clip import demo_performance, film
from training.synthetic.studio import Studio

_FRAMES: Final = 2
_FRAMES_IN_GROUPS: Final = 3
"""Where some are shown in another order than they are coded."""
_SIZE: Final = (80, 60)
_MIN_PACKET_BYTES: Final = 8
_NOBODY: Final = 65534
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
_TURNED: Final[dict[str, Any]] = {"rotation": 180, "aspect": Fraction(4, 3)}
_FRAGMENTED: Final = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A whole file. packets: where its coded packets and codec headers lie: (start, stop)."""

    name: str
    data: bytes
    packets: tuple[tuple[int, int], ...]

    @property
    def container(self) -> str:
        """The file's suffix."""
        return self.name.rpartition(".")[2]


def make_seeds() -> tuple[Seed, ...]:
    """Every seed, the same bytes each time but for x264's, which depend on the heap a little."""
    with TemporaryDirectory(prefix="circumplex-seeds-") as folder:
        return tuple(_make(Path(folder), *recipe) for recipe in _recipes())


@contextmanager
def _as_anybody(folder: Path) -> Generator[None]:
    """SVT-AV1 takes real-time priority for its threads and its caller's wherever root runs it."""
    if os.geteuid() != 0:
        yield
        return
    folder.chmod(0o777)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


Recipe = tuple[str, PictureTrack | None, SoundTrack | None, dict[str, str]]


def _recipes() -> Sequence[Recipe]:
    face = _draw_face()
    h264, plain = _X264, {"b": "400000"}

    def video(codec: str, options: dict[str, str] = plain, **oddities: Any) -> PictureTrack:
        track: dict[str, Any] = {"size": _SIZE, "count": _FRAMES, "tick": Fraction(1, 25)}
        track["picture"] = face
        if options in (_X264, _X265):
            track["count"] = _FRAMES_IN_GROUPS
        return PictureTrack(codec=codec, options=options, **(track | oddities))

    turned = video("libx264", h264, **_TURNED, picture=face[::-1, ::-1])
    return (
        ("plain.mp4", video("libx264", h264), _sound("aac"), {}),
        ("edited.mp4", video("libx264", h264, starts_at=Fraction(1, 5)), _sound("aac"), {}),
        ("fragmented.mp4", video("libx264", h264), _sound("aac"), _FRAGMENTED),
        ("turned.mov", turned, _sound("pcm_s16le"), {}),
        ("hevc.mp4", video("libx265", _X265), None, {}),
        ("mpeg4.mp4", video("mpeg4"), _sound("libmp3lame"), {}),
        ("av1.mp4", video("libsvtav1", _AV1), _sound("libopus"), {}),
        ("mjpeg.mov", video("mjpeg", _MJPEG), None, {}),
        ("h264.mkv", video("libx264", h264), _sound("libopus"), {}),
        ("hevc.mkv", video("libx265", _X265), _sound("flac"), {}),
        ("vp8.webm", video("libvpx"), _sound("libopus"), {}),
        ("vp9.webm", video("libvpx-vp9"), None, {}),
        ("h264.ts", video("libx264", h264), _sound("aac"), {}),
        ("mpeg2.ts", video("mpeg2video"), _sound("libmp3lame"), {}),
        ("mpeg4.avi", video("mpeg4"), _sound("libmp3lame"), {}),
        ("mjpeg.avi", video("mjpeg", _MJPEG), _sound("pcm_s16le"), {}),
        ("h264.flv", video("libx264", h264), _sound("aac"), {}),
        ("mpeg2.vob", video("mpeg2video"), None, {}),
        ("wmv2.asf", video("wmv2"), _sound("libmp3lame"), {}),
        ("vp8.ogg", video("libvpx"), None, {}),
        ("sound.wav", None, _sound("pcm_s16le"), {}),
        ("sound.mp3", None, _sound("libmp3lame"), {}),
    )


def _sound(codec: str) -> SoundTrack:
    return SoundTrack(codec=codec, seconds=0.3, claps_at=(0.1,))


def _draw_face() -> Bytes:
    """(60, 80, 3) uint8: the demo's actor, small, and still found."""
    width, height = _SIZE
    performance = demo_performance(seconds=1.0)
    camera = Camera.of_seed(performance.seed)
    studio = Studio(performance, camera, height=height, width=width)
    return next(film(performance, studio, np.zeros(1)))


def _make(
    folder: Path,
    name: str,
    pictures: PictureTrack | None,
    sound: SoundTrack | None,
    muxer: dict[str, str],
) -> Seed:
    with _as_anybody(folder):
        path = write(folder / name, pictures, sound, **_BITEXACT, **muxer)
    data = path.read_bytes()
    return Seed(name=name, data=data, packets=tuple(_locate_packets(path, data)))


def _locate_packets(path: Path, data: bytes) -> list[tuple[int, int]]:
    """Where codec headers and packets lie in one piece in the file."""
    with av.open(str(path)) as container:
        headers = [stream.codec_context.extradata or b"" for stream in container.streams]
        parts = headers + [bytes(packet) for packet in container.demux()]
    found: list[tuple[int, int]] = []
    for part in parts:
        start = data.find(part)
        if len(part) >= _MIN_PACKET_BYTES and start >= 0:
            found.append((start, start + len(part)))
    return found
