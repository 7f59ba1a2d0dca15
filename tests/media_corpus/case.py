"""A clip of the corpus: how it is made, and what must come of it.

To add one, add a `case` to a table (containers, clocks or pictures): a name, the file, FFmpeg's
arguments, one command after the other, and what differs from the usual: 25 rows from 0 to 0.96
seconds, no sound, nothing odd. A function of the folder does what no command can (surgery). The
rows of every case are also held, tick by tick, to what FFmpeg's own program lists.
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
    """What is expected of a clip.

    first, last: seconds of the first and the last row; None: not foretold.
    facts, anomalies: some of those of the media block. video_stream: the one asked for.
    listed: what FFmpeg is asked to list.
    """

    name: str
    file: str
    steps: tuple[BuildStep, ...]
    rows: int = 25
    first: float = 0.0
    last: float = 0.96
    flags: set[Flag] = field(default_factory=set[Flag])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])
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
