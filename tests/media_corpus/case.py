"""Case of the media corpus: the steps that make a clip, and the expected reading of it.

To add a clip, add a `case` to a table (containers, timestamps or picture_formats): its name, its
file, the FFmpeg commands or functions of the folder (file_edits) that make it, and what differs
from the default: 25 frames from 0 to 0.96 seconds, no audio, no anomalies. The times of every
clip are also compared, tick by tick, with those that the `ffmpeg` program lists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.domain.media import Flag
from tests.media_corpus.ffmpeg_reference import run_ffmpeg

VIDEO_SOURCE = "-f lavfi -i testsrc2=s=64x48:r=25:d=1"
AUDIO_SOURCE = "-f lavfi -i sine=f=440:r=48000:d=1"
YUV420P = "-pix_fmt yuv420p"
H264 = f"{YUV420P} -c:v libx264 -preset ultrafast"
H264_B_FRAMES = f"{YUV420P} -c:v libx264 -preset veryfast -b_strategy 0 -bf 3"
HEVC = f"{YUV420P} -c:v libx265 -preset ultrafast -x265-params log-level=none:pools=none"
MPEG2 = f"{YUV420P} -c:v mpeg2video"

BuildStep = str | Callable[[Path], None]


@dataclass(frozen=True, kw_only=True)
class CorpusCase:
    """Steps that make a clip, and what is expected of it.

    rows: number of frames. first, last: times of the first and the last frame in seconds.
    media_info, anomalies: some fields of MediaInfo and Anomalies. video_stream: the requested one.
    listed: FFmpeg's specifier of the same stream.
    """

    name: str
    file: str
    steps: tuple[BuildStep, ...]
    rows: int = 25
    first: float = 0.0
    last: float = 0.96
    flags: set[Flag] = field(default_factory=set[Flag])
    media_info: dict[str, Any] = field(default_factory=dict[str, Any])
    anomalies: dict[str, Any] = field(default_factory=dict[str, Any])
    video_stream: int | None = None
    listed: str = "v:0"

    def build(self, folder: Path) -> Path:
        for step in self.steps:
            if isinstance(step, str):
                run_ffmpeg(step, folder=folder)
            else:
                step(folder)
        return folder / self.file


def case(name: str, file: str, *steps: BuildStep, **expected: Any) -> CorpusCase:
    return CorpusCase(name=name, file=file, steps=steps, **expected)
